//! Object types: what a job may write, and which spellings mean the same type.
