pub mod refusal;
pub mod reply;
pub mod verdict;
