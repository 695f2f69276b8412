//! What a policy means: rows of a table and random policies, each decided by the host's function and by the loaded
//! program, which must both say what `rules/README.md` says.

mod gateway;
mod model;
mod properties;
mod reference;
mod table;
mod written;
