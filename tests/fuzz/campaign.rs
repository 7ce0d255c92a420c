//! One target under fire: the corpus as it is, then mutations of it.

use std::cell::Cell;

use crate::corpus::{Corpus, Sample};

/// What a target made of an input that it survived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    Accepted,
    Refused,
}

/// Mutations in an ordinary run: a second or two, unoptimised.
const EXECUTIONS: usize = 4_000;

/// Runs `target`, which panics where it finds a promise broken. The number of mutations is that of the environment
/// variable `EXECUTIONS`, if it is set.
pub fn run(name: &str, target: impl Fn(&[u8]) -> Taken + std::panic::RefUnwindSafe) {
    let corpus = Corpus::load(name);
    let (accepted, refused) = (Cell::new(0_u64), Cell::new(0_u64));
    let count = |taken| match taken {
        Taken::Accepted => accepted.set(accepted.get() + 1),
        Taken::Refused => refused.set(refused.get() + 1),
    };
    for Sample(bytes) in corpus.samples() {
        count(target(bytes));
    }
    let executions = std::env::var("EXECUTIONS").ok().map(|number| number.parse().expect("EXECUTIONS is a number"));
    let counting = std::panic::AssertUnwindSafe(count);
    let began = std::time::Instant::now();
    bolero::check!()
        .with_iterations(executions.unwrap_or(EXECUTIONS))
        .with_type::<Vec<u8>>()
        .map(|entropy| corpus.mutated(&entropy))
        .for_each(|Sample(bytes)| counting(target(bytes)));
    let (accepted, refused) = (accepted.get(), refused.get());
    println!("{name}: {accepted} accepted, {refused} refused, {:.1} s", began.elapsed().as_secs_f64());
    // Else the mutations are so wild, or so tame, that half of the code is never reached.
    assert!(accepted * 100 > refused, "{name}: only {accepted} inputs of {} were accepted", accepted + refused);
    assert!(refused * 100 > accepted, "{name}: only {refused} inputs of {} were refused", accepted + refused);
}
