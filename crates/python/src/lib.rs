//! The in-process sensor: digests and the socket. Converts, never decides.
