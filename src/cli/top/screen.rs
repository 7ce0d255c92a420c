//! The terminal while it shows the view. It is given back as it was, however the command ends.

use std::io;
use std::thread;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::Rect;
use ratatui::{DefaultTerminal, Frame};
use tokio::sync::mpsc;

use super::view::Move;

/// Keys that are typed faster than they are looked at wait here.
const MOST_KEYS: usize = 64;

#[derive(Debug)]
pub struct Screen {
    terminal: DefaultTerminal,
}

/// What happened at the terminal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Happening {
    Move(Move),
    /// A letter, which means what the last line of the screen says.
    Letter(char),
    Enter,
    Backspace,
    Escape,
    /// Ctrl-C, which a terminal in raw mode hands on as a key.
    Interrupt,
    Resized,
}

impl Screen {
    /// Takes the terminal; a panic gives it back before it is told.
    pub fn open() -> io::Result<Self> {
        ratatui::try_init().map(|terminal| Self { terminal })
    }

    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(draw).map(drop)
    }

    pub fn area(&self) -> Rect {
        let size = self.terminal.size().unwrap_or_default();
        Rect::new(0, 0, size.width, size.height)
    }

    /// For an end that runs no destructor. A terminal that has gone needs nothing.
    pub fn give_back() {
        let _ = ratatui::try_restore();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        Self::give_back();
    }
}

/// What happens from now on. The thread waits for the terminal and ends with the process.
pub fn happenings() -> mpsc::Receiver<Happening> {
    let (sender, receiver) = mpsc::channel(MOST_KEYS);
    thread::spawn(move || {
        while let Ok(event) = event::read() {
            if let Some(happening) = read(&event)
                && sender.blocking_send(happening).is_err()
            {
                break;
            }
        }
    });
    receiver
}

fn read(event: &Event) -> Option<Happening> {
    if matches!(event, Event::Resize(..)) {
        return Some(Happening::Resized);
    }
    let KeyEvent { code, modifiers, kind, .. } = event.as_key_event()?;
    if kind == KeyEventKind::Release {
        return None;
    }
    if let KeyCode::Char(letter) = code {
        let held = modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT);
        return match (held, letter) {
            (true, 'c') => Some(Happening::Interrupt),
            (true, _) => None,
            (false, _) => Some(Happening::Letter(letter)),
        };
    }
    let keys = [
        (KeyCode::Up, Happening::Move(Move::Up)),
        (KeyCode::Down, Happening::Move(Move::Down)),
        (KeyCode::PageUp, Happening::Move(Move::PageUp)),
        (KeyCode::PageDown, Happening::Move(Move::PageDown)),
        (KeyCode::Home, Happening::Move(Move::First)),
        (KeyCode::End, Happening::Move(Move::Last)),
        (KeyCode::Enter, Happening::Enter),
        (KeyCode::Backspace, Happening::Backspace),
        (KeyCode::Esc, Happening::Escape),
    ];
    keys.into_iter().find(|(key, _)| *key == code).map(|(_, happening)| happening)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read() {
        let key = |code, modifiers| read(&Event::Key(KeyEvent::new(code, modifiers)));
        assert_eq!(key(KeyCode::Char('p'), KeyModifiers::NONE), Some(Happening::Letter('p')));
        assert_eq!(key(KeyCode::Char('P'), KeyModifiers::SHIFT), Some(Happening::Letter('P')));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Happening::Interrupt));
        assert_eq!(key(KeyCode::Char('y'), KeyModifiers::CONTROL), None, "no answer by accident");
        assert_eq!(key(KeyCode::Down, KeyModifiers::NONE), Some(Happening::Move(Move::Down)));
        assert_eq!(key(KeyCode::F(5), KeyModifiers::NONE), None);
        assert_eq!(read(&Event::Resize(80, 24)), Some(Happening::Resized));
    }
}
