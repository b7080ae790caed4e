//! A machine to acts: processes, exits, signals, peers.
