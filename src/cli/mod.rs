//! The commands, a file each.

mod archive;
mod arguments;
mod exit;
mod run;

pub use arguments::main;
