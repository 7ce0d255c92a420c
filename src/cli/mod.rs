//! The commands, a file each.

mod archive;
mod arguments;
mod exit;
mod run;
mod signals;

pub use arguments::main;
