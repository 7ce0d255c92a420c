//! The inputs that are kept: one file each, under the name of their target.

use std::fmt;
use std::path::Path;

use crate::campaign::Taken;
use crate::mutation::Mutation;

/// An input; shown as text that can be copied into a file of the corpus with `printf`.
#[derive(Clone)]
pub struct Sample(pub Vec<u8>);

impl fmt::Debug for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

pub struct Corpus {
    names: Vec<String>,
    samples: Vec<Sample>,
    /// Those that were accepted: what comes near to them reaches furthest.
    good: Vec<Sample>,
    tokens: Vec<Vec<u8>>,
}

impl Corpus {
    /// Reads all files of the target, in the order of their names. Each line of its file `tokens`, if there is one, is
    /// a word to be thrown in.
    pub fn load(target: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
        let mut files: Vec<_> = folder.read_dir().expect("a corpus").map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let (tokens, samples): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|path| path.file_name().is_some_and(|name| name == "tokens"));
        let names = samples.iter().map(|path| path.file_name().unwrap().display().to_string()).collect();
        let samples: Vec<_> = samples.into_iter().map(|path| Sample(std::fs::read(path).unwrap())).collect();
        assert!(!samples.is_empty(), "the corpus of {target} is empty");
        let mut words: Vec<Vec<u8>> = NASTY.iter().map(|word| word.to_vec()).collect();
        for path in tokens {
            words.extend(std::fs::read(path).unwrap().split(|byte| *byte == b'\n').map(<[u8]>::to_vec));
        }
        Self { names, samples, good: Vec::new(), tokens: words }
    }

    /// Feeds every sample as it is, with the name of its file.
    pub fn try_each(&mut self, target: impl Fn(&str, &Sample) -> Taken) {
        let named = self.names.iter().zip(&self.samples);
        let accepted = named.filter(|(name, sample)| target(name, sample) == Taken::Accepted);
        self.good = accepted.map(|(_, sample)| sample.clone()).collect();
        assert!(!self.good.is_empty(), "nothing in the corpus is accepted");
    }

    /// One of the samples, changed in the ways that `entropy` chooses.
    pub fn mutated(&self, entropy: &[u8]) -> Sample {
        let mut mutation = Mutation { entropy, tokens: &self.tokens };
        let from = if mutation.below(4) == 0 { &self.samples } else { &self.good };
        let Sample(mut bytes) = from[mutation.below(from.len())].clone();
        let Sample(other) = &self.samples[mutation.below(self.samples.len())];
        mutation.inflict(&mut bytes, other);
        Sample(bytes)
    }
}

/// What goes wrong in many a parser.
const NASTY: &[&[u8]] = &[
    b"\0",
    b"\x1b[2J",
    b"\x7f",
    b"\xff",
    b"\xc3",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"\\ud800",
    b"\\udfff\\ud800",
    b"\\u0000",
    b"\r\n",
    b"\"",
    b"\\",
    b"0",
    b"-0",
    b"-1",
    b"00",
    b"1e400",
    b"0.1",
    b"9007199254740993",
    b"9223372036854775808",
    b"18446744073709551615",
    b"18446744073709551616",
    b"340282366920938463463374607431768211456",
    b"NaN",
    b"null",
    b"true",
    b"[",
    b"]",
    b"{",
    b"}",
    b",",
    b":",
    b"[]",
    b"{}",
    b"\"\"",
    "\u{202e}".as_bytes(),
    "é".as_bytes(),
    "\u{1f4a9}".as_bytes(),
];
