//! Integration tests: the loaded programs on frames from memory, and the whole sensor in a lab.

mod kernel;
