"""Facts of this machine: processor time and limits, GPUs, and the processes that use them."""
