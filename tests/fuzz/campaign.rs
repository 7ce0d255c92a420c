//! One target under fire: the corpus as it is, then mutations of it.

use std::cell::Cell;

use crate::corpus::{Corpus, Sample};

/// What a target made of an input that it survived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    Accepted,
    Refused,
}

/// Mutations for one target in an ordinary run: a second or two, unoptimised.
const EXECUTIONS: usize = 2_000;
/// Targets that share a long run.
const TARGETS: usize = 6;

/// Runs `target`, which panics where it finds a promise broken. The environment variable `EXECUTIONS` says how many
/// mutations all targets together are to see.
pub fn run(name: &str, target: impl Fn(&[u8]) -> Taken + std::panic::RefUnwindSafe) {
    let mut corpus = Corpus::load(name);
    let (accepted, refused) = (Cell::new(0_u64), Cell::new(0_u64));
    let count = |taken| match taken {
        Taken::Accepted => accepted.set(accepted.get() + 1),
        Taken::Refused => refused.set(refused.get() + 1),
    };
    corpus.try_each(|bytes| {
        let taken = target(bytes);
        count(taken);
        taken
    });
    let asked = std::env::var("EXECUTIONS").ok().map(|number| number.parse::<usize>().expect("EXECUTIONS: a number"));
    let counting = std::panic::AssertUnwindSafe(count);
    let began = std::time::Instant::now();
    bolero::check!()
        .with_iterations(asked.map_or(EXECUTIONS, |all| all.div_ceil(TARGETS)))
        .with_type::<Vec<u8>>()
        .map(|entropy| corpus.mutated(&entropy))
        .for_each(|Sample(bytes)| counting(target(bytes)));
    let (accepted, refused) = (accepted.get(), refused.get());
    println!("{name}: {accepted} accepted, {refused} refused, {:.1} s", began.elapsed().as_secs_f64());
    // Else the mutations are so wild, or so tame, that half of the code is never reached.
    assert!(accepted * 100 > refused, "{name}: only {accepted} inputs of {} were accepted", accepted + refused);
    assert!(refused * 100 > accepted, "{name}: only {refused} inputs of {} were refused", accepted + refused);
}
