//! Sets of labels, each kept once: millions of pairs share a handful of them.

use hashbrown::HashMap;

use crate::label::Label;

/// All sets that any pair has or had.
#[derive(Default, Debug)]
pub(crate) struct LabelSets {
    sets: Vec<Box<[Label]>>,
    ids: HashMap<Box<[Label]>, LabelSetId>,
}

/// What a pair keeps instead of its labels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LabelSetId(u32);

impl LabelSets {
    /// The id of the set with these labels, in whatever order they come.
    pub fn id_of(&mut self, mut labels: Vec<Label>) -> LabelSetId {
        labels.sort_unstable();
        labels.dedup();
        if let Some(&id) = self.ids.get(labels.as_slice()) {
            return id;
        }
        let id = LabelSetId(u32::try_from(self.sets.len()).unwrap_or(u32::MAX));
        let labels: Box<[Label]> = labels.into();
        self.sets.push(labels.clone());
        self.ids.insert(labels, id);
        id
    }

    /// Sorted.
    pub fn labels(&self, LabelSetId(id): LabelSetId) -> &[Label] {
        self.sets.get(id as usize).map(Box::as_ref).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::LabelCategory;

    #[test]
    fn equal_sets_are_one() {
        let label = |type_id| Label { category: LabelCategory::UserDefined, type_id };
        let mut sets = LabelSets::default();
        let one = sets.id_of(vec![label(2), label(1), label(2)]);
        assert_eq!(sets.id_of(vec![label(1), label(2)]), one);
        assert_ne!(sets.id_of(vec![label(1)]), one);
        assert_eq!(sets.labels(one), [label(1), label(2)]);
    }
}
