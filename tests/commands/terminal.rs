//! A terminal for the program, as an ssh session has one: keys go in, what is shown comes out.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness::eventually;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use tokio::process::{Child, Command};

use super::program::{Settings, command};

const LIMIT: Duration = Duration::from_secs(60);
const WIDEST: usize = 200;
const HIGHEST: usize = 60;

pub struct Terminal {
    keyboard: File,
    /// The program's side, kept open so that it can be looked at when the program has gone.
    line: OwnedFd,
    child: Child,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts the program on a terminal of its own, which it controls.
    pub fn start(arguments: &[&str], settings: Settings<'_>, (columns, rows): (u16, u16)) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let line = rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        tcsetwinsize(&master, size(columns, rows)).unwrap();

        let plain = command(arguments, settings);
        let mut started = Command::new("setsid");
        started.arg("--ctty").arg(plain.as_std().get_program()).args(plain.as_std().get_args());
        for (name, value) in plain.as_std().get_envs() {
            match value {
                Some(value) => started.env(name, value),
                None => started.env_remove(name),
            };
        }
        let end = || Stdio::from(line.try_clone().unwrap());
        started.env("TERM", "xterm-256color").env("NO_COLOR", "1").current_dir(std::env::temp_dir());
        let child = started.stdin(end()).stdout(end()).stderr(end()).kill_on_drop(true).spawn().unwrap();

        let keyboard = File::from(master);
        let (mut screen, shown) = (keyboard.try_clone().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let writer = Arc::clone(&shown);
        // Ends with the terminal.
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = screen.read(&mut bytes) {
                writer.lock().unwrap().extend_from_slice(&bytes[..length]);
            }
        });
        Self { keyboard, line, child, shown }
    }

    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    pub fn resize(&self, columns: u16, rows: u16) {
        tcsetwinsize(&self.keyboard, size(columns, rows)).unwrap();
    }

    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// What stands on the screen now, as far as a view needs it: places, letters, and that all is cleared.
    pub fn screen(&self) -> String {
        let shown = self.raw();
        let (mut rows, mut row, mut column) = (vec![vec![' '; WIDEST]; HIGHEST], 0, 0);
        let mut letters = shown.chars();
        while let Some(letter) = letters.next() {
            if letter != '\u{1b}' {
                if !letter.is_control() && row < HIGHEST && column < WIDEST {
                    rows[row][column] = letter;
                    column += 1;
                }
                continue;
            }
            let order = order(&mut letters);
            let numbers = order.trim_matches(|letter: char| !letter.is_ascii_digit()).split(';');
            let numbers: Vec<usize> = numbers.filter_map(|number| number.parse().ok()).collect();
            match (order.chars().last(), numbers.as_slice()) {
                (Some('H'), [to_row, to_column]) => (row, column) = (to_row - 1, to_column - 1),
                (Some('J'), _) => rows.iter_mut().flatten().for_each(|cell| *cell = ' '),
                _ => {}
            }
        }
        let lines = rows.iter().map(|row| row.iter().collect::<String>().trim_end().to_owned());
        lines.collect::<Vec<_>>().join("\n").trim_end().to_owned()
    }

    pub fn raw(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// Waits until all these words stand on the screen.
    pub async fn shows(&self, words: &[&str]) {
        let shown = async || Ok(words.iter().all(|word| self.screen().contains(word)).then_some(()));
        let waited = eventually(LIMIT, &format!("{words:?} on the screen"), shown).await;
        waited.unwrap_or_else(|error| panic!("{error:#}: {}", self.screen()));
    }

    /// Waits for the program's end; the terminal must then be as it was.
    pub async fn ended(&mut self) -> i32 {
        let status = tokio::time::timeout(LIMIT, self.child.wait()).await;
        let status = status.unwrap_or_else(|_| panic!("it does not end: {}", self.screen())).unwrap();
        let modes = tcgetattr(&self.line).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG), "{modes:?}");
        // The last words may still be on their way.
        let is_as_before = async || {
            let raw = self.raw();
            Ok((raw.contains("\u{1b}[?1049l") && raw.contains("\u{1b}[?25h")).then_some(()))
        };
        eventually(LIMIT, "the usual screen and the cursor", is_as_before).await.unwrap();
        status.code().unwrap_or(-1)
    }
}

/// The rest of an order to the terminal: up to the letter that ends it.
fn order(letters: &mut std::str::Chars<'_>) -> String {
    let mut order = String::new();
    for letter in letters {
        order.push(letter);
        if letter.is_ascii_alphabetic() {
            break;
        }
    }
    order
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}
