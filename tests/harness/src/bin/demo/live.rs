//! How far the run is: one redrawn line on a terminal, a few plain lines elsewhere.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::screen::{Screen, grouped};

const BETWEEN_DRAWINGS: Duration = Duration::from_millis(80);
const BETWEEN_LINES: Duration = Duration::from_secs(3);
const BAR_CELLS: usize = 24;

#[derive(Debug)]
pub struct Live {
    screen: Screen,
    expected: usize,
    began: Instant,
    drawn: Option<Instant>,
    requests: Option<usize>,
    took: Duration,
}

impl Live {
    pub fn new(screen: Screen) -> Self {
        let began = Instant::now();
        Self { screen, expected: 0, began, drawn: None, requests: None, took: Duration::ZERO }
    }

    /// The clock of the run starts, with this many answers to come.
    pub fn begin(&mut self, expected: usize) {
        (self.expected, self.began, self.drawn) = (expected, Instant::now(), None);
    }

    pub fn show(&mut self, answered: usize, requests: usize) {
        self.requests = Some(requests);
        self.show_answered(answered);
    }

    pub fn show_answered(&mut self, answered: usize) {
        let pause = if self.screen.is_terminal() { BETWEEN_DRAWINGS } else { BETWEEN_LINES };
        let due = self.drawn.unwrap_or(self.began) + pause;
        if Instant::now() >= due {
            self.draw(answered);
        }
    }

    /// The clock stops.
    pub fn end(&mut self, answered: usize) {
        self.took = self.began.elapsed();
        self.requests = None;
        self.draw(answered);
        if self.screen.is_terminal() {
            println!();
        }
    }

    /// From the first job sent to the last answer read.
    pub fn took(&self) -> Duration {
        self.took
    }

    fn draw(&mut self, answered: usize) {
        self.drawn = Some(Instant::now());
        let seconds = self.began.elapsed().as_secs_f64();
        let counts = format!("{:>7} of {} answered", grouped(answered as u64), grouped(self.expected as u64));
        let requests = self.requests.map_or(String::new(), |requests| format!("  {requests:>3} requests"));
        if self.screen.is_terminal() {
            let filled = (answered * BAR_CELLS / self.expected.max(1)).min(BAR_CELLS);
            let bar = format!("{}{}", "█".repeat(filled), "░".repeat(BAR_CELLS - filled));
            // To the line's start, and clear what a longer line has left.
            print!("\r  {}  {counts}{requests}  {seconds:4.1} s\x1b[K", self.screen.accent(&bar));
            // A terminal that is gone is noticed by the lines that follow.
            let _ = std::io::stdout().flush();
        } else {
            println!("  {counts}{requests}  {seconds:4.1} s");
        }
    }
}
