"""What decides: samplers, the tuner loop, the worker."""
