//! One target under fire: the corpus as it is, then mutations of it.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, catch_unwind, resume_unwind};
use std::time::Instant;

use crate::corpus::{Corpus, Sample};

/// What a target made of an input that it survived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    Accepted,
    Refused,
}

/// Mutations for one target in an ordinary run: seconds, unoptimised.
const EXECUTIONS: usize = 5_000;
/// An ordinary run tries the same mutations every time: luck must not decide whether a change lands.
const SEED: u64 = 0x5ca1_ab1e;
/// Most choices, in bytes, that make one mutation.
const MOST_ENTROPY: usize = 64;
/// Targets that share a long run.
const TARGETS: usize = 7;

/// Runs `target`, which panics where it finds a promise broken. With the environment variable `EXECUTIONS`, which says
/// how many mutations all targets together are to see, they are other ones in each run.
pub fn run(name: &str, target: impl Fn(&[u8]) -> Taken + RefUnwindSafe) {
    let mut corpus = Corpus::load(name);
    let (accepted, refused) = (Cell::new(0_u64), Cell::new(0_u64));
    let count = |taken| match taken {
        Taken::Accepted => accepted.set(accepted.get() + 1),
        Taken::Refused => refused.set(refused.get() + 1),
    };
    let began = Instant::now();
    corpus.try_each(|file, sample| {
        let taken = told(&format!("{name}/{file}"), sample, &target);
        count(taken);
        taken
    });
    match std::env::var("EXECUTIONS") {
        Err(_) => ordinary(&corpus, |sample| count(told(name, sample, &target))),
        Ok(number) => {
            let all: usize = number.parse().expect("EXECUTIONS: a number");
            let counting = AssertUnwindSafe(count);
            bolero::check!()
                .with_iterations(all.div_ceil(TARGETS))
                .with_type::<Vec<u8>>()
                .map(|entropy| corpus.mutated(&entropy))
                .for_each(|Sample(bytes)| counting(target(bytes)));
        }
    }
    let (accepted, refused) = (accepted.get(), refused.get());
    println!("{name}: {accepted} accepted, {refused} refused, {:.1} s", began.elapsed().as_secs_f64());
    // Else the mutations are so wild, or so tame, that half of the code is never reached.
    assert!(accepted * 100 > refused, "{name}: only {accepted} inputs of {} were accepted", accepted + refused);
    assert!(refused * 100 > accepted, "{name}: only {refused} inputs of {} were refused", accepted + refused);
}

fn ordinary(corpus: &Corpus, mut tried: impl FnMut(&Sample)) {
    let mut random = fastrand::Rng::with_seed(SEED);
    for _ in 0..EXECUTIONS {
        let mut entropy = vec![0; random.usize(..=MOST_ENTROPY)];
        random.fill(&mut entropy);
        tried(&corpus.mutated(&entropy));
    }
}

/// A target that fails says on what.
fn told(name: &str, sample: &Sample, target: &(impl Fn(&[u8]) -> Taken + RefUnwindSafe)) -> Taken {
    catch_unwind(|| target(&sample.0)).unwrap_or_else(|panic| {
        eprintln!("{name} fails on:\n{sample:?}");
        resume_unwind(panic)
    })
}
