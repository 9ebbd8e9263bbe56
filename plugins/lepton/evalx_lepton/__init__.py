"""evalx on NVIDIA DGX Cloud Lepton: the executor, and an emulated workspace to run it on without an account."""
