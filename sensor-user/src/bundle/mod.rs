//! Policy bundles: a policy and all its lists in one signed file, and the ways of one into force.
//!
//! `make` puts one together of what the daemon itself loads, `key` signs and verifies as minisign does, `archive`
//! unpacks nothing that was not promised in the `manifest`. `diff` says what would change, `dry_run` what it would
//! have changed of late, `guard` what must not. `site` is the directory bundles are kept in, `apply` the way in and
//! the way back, `intact` holds what is in force to its signature, `audit` is what becomes known of it all.
//!
//! Lists of other formats go in as the names that were read of them: which version of this program reads them at the
//! gateway makes no difference then. The project's own lists go in as they are: their comments say where names are from.

mod apply;
mod archive;
pub mod audit;
mod diff;
mod disk;
mod dry_run;
mod error;
mod guard;
mod intact;
pub mod key;
mod make;
mod manifest;
mod site;
mod tables;
#[cfg(test)]
mod tests;
mod unpacked;

pub use self::apply::{Ask, Outcome, Reload, Taken, apply, rollback};
pub use self::diff::{CategoryChange, Counts, Diff, ListChange};
pub use self::dry_run::{Change, DryRun, NameChange};
pub use self::error::BundleError;
pub use self::guard::Check;
pub use self::intact::check_in_force;
pub use self::make::{Made, Order, make};
pub use self::manifest::Manifest;
pub use self::site::{KEPT, Site};
pub use self::tables::{TableChange, Written, changes};
pub use self::unpacked::Unpacked;
