"""Training of networks on audio: audio store, batches, loop, schedules and run folders."""
