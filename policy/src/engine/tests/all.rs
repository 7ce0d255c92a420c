//! Records of which all associations are asked for.

use std::cell::RefCell;
use std::rc::Rc;

use super::looks::{Shelf, labels, obey, planned, shelf};
use super::*;
use crate::engine::account::Safety;

fn bench_of(shelf: Shelf, max_pairs: usize, safety: Safety) -> (Bench, Rc<RefCell<Shelf>>) {
    let shelf = Rc::new(RefCell::new(shelf));
    let far_side = Rc::clone(&shelf);
    let account = AccountPolicy { safety, ..account() };
    let policy = EnginePolicy { max_pairs, ..policy() };
    (Bench::new(policy, vec![account], move |call, _| obey(&mut far_side.borrow_mut(), call)), shelf)
}

impl Bench {
    fn admit_all(&mut self, dry_run: bool, asks: &[(Extent, &[Pair], &[u64])]) -> JobKey {
        let asks = asks.iter().map(|(extent, pairs, all_of)| Ask {
            extent: extent.clone(),
            pairs: pairs.iter().copied().collect(),
            all_of: all_of.iter().map(|&id| pair(id, 1).from).collect(),
        });
        let job = NewJob { dry_run, ..new_job(("contacts", "companies"), asks, Carried::fresh(self.now.wall)) };
        self.engine.admit(job, self.now)
    }
}

fn settled(ending: &Ending) -> (usize, Vec<(Option<Pair>, &str)>) {
    let Ending::Settled { num_pairs, errors } = ending else { panic!("{ending:?}") };
    (*num_pairs, errors.iter().map(|error| (error.pair(), error.refusal.source.category())).collect())
}

#[test]
fn everything_that_a_record_has_goes_and_nothing_else() {
    let there = shelf(&[(1, 1), (1, 2), (1, 3), (2, 1), (3, 1), (4, 5)]);
    for journal in [false, true] {
        let (mut bench, shelf) = bench_of(there.clone(), 10, Safety { journal, verify: false });
        let job = bench.admit_all(false, &[(Extent::Whole, &[pair(3, 1)], &[1, 9])]);
        let nothing = bench.admit_all(false, &[(Extent::Whole, &[], &[9])]);
        bench.run(Duration::from_secs(10));
        assert_eq!(settled(&bench.endings[&job]), (4, Vec::new()));
        assert_eq!(settled(&bench.endings[&nothing]), (0, Vec::new()));
        assert_eq!(shelf.borrow().keys().copied().collect::<Vec<_>>(), [(2, 1), (4, 5)]);
        assert_eq!(bench.engine.remains(), Remains::default());
    }
}

#[test]
fn with_labels_only_pairs_that_carry_one_are_asked_for() {
    let mut there = shelf(&[(1, 1), (1, 2), (1, 3)]);
    there.insert((1, 2), vec![7, 279]);
    there.insert((1, 4), vec![8, 279]);
    let (mut bench, _) = bench_of(there, 10, Safety::default());
    let job = bench.admit_all(true, &[(labels(&[7, 9]), &[], &[1])]);
    bench.run(Duration::from_secs(10));
    assert_eq!(planned(&bench.endings[&job]), [(pair(1, 2), (true, 1))].into());
    assert_eq!(bench.words(), ["look", "look"], "two pages, and nothing more");
}

#[test]
fn a_job_that_would_grow_too_large_ends_before_anything_is_changed() {
    let there: Shelf = (1..=100).map(|to| ((1, to), vec![279])).chain([((2, 1), vec![279])]).collect();
    let (mut bench, shelf) = bench_of(there.clone(), 10, Safety::default());
    let large = bench.admit_all(false, &[(Extent::Whole, &[pair(7, 7)], &[1, 2])]);
    let other = bench.admit_all(false, &[(Extent::Whole, &[], &[2])]);
    bench.run(Duration::from_secs(60));
    let (pairs, errors) = settled(&bench.endings[&large]);
    assert_eq!((pairs, errors.len()), (3, 3));
    assert!(errors.iter().all(|(_, category)| *category == "TOO_MANY_PAIRS"), "{errors:?}");
    assert_eq!(errors.iter().filter(|(pair, _)| *pair == Some(pair_of_list())).count(), 1);
    assert_eq!(settled(&bench.endings[&other]), (1, Vec::new()));
    let looks = bench.words().iter().filter(|word| **word == "look").count();
    assert!(looks <= 7, "{looks} pages of two: reading stops once the job is too large");
    assert_eq!(shelf.borrow().len(), there.len() - 1);
    assert_eq!(bench.engine.remains(), Remains::default());
}

fn pair_of_list() -> Pair {
    pair(7, 7)
}
