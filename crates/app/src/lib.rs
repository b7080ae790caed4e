//! The use-cases: run, runs, show, diff, ledger audit, demo; the index; configuration.
