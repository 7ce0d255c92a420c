//! `top`: the running service as a live view on a terminal.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use secrecy::SecretString;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use self::order::Order;
use self::screen::{Happening, Screen, happenings};
use self::status::Status;
use self::theme::Theme;
use self::view::{Footer, Move, View};
use super::admin_call::{self, ServiceAddress};
use super::exit::Failure;
use super::paint::harmless;
use super::signals::{FirstWords, stop_on_signals};
use super::{output, runtime};
use crate::config::Settings;

mod figures;
mod leases;
mod order;
mod rows;
mod screen;
mod status;
mod theme;
mod view;

const EVERY: Duration = Duration::from_secs(1);
/// The width of a frame where there is no terminal to tell one.
const WIDTH_WITHOUT_TERMINAL: u16 = 100;
const LEAST_WIDTH: u16 = 20;

#[derive(clap::Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// The service's endpoints, as http://HOST:PORT; nothing: admin.listen of the settings
    #[arg(long, value_name = "URL", value_parser = ServiceAddress::parse)]
    url: Option<ServiceAddress>,
    /// Prints one frame as plain text, as it is done where stdout is no terminal
    #[arg(long)]
    once: bool,
}

const EXAMPLES: &str = "\
Keys: q ends it; arrows, page up and down, home and end choose; p pauses or resumes what is chosen; a approves and r
rejects what the guard of the chosen account has stopped, or of the only one that waits. Each is done once y confirms it,
with admin.token of the settings, or else one that it asks for. A worker that stands by hands the order on to the one that
works. It asks the service once a second, and goes on asking where there is no answer. NO_COLOR is heeded. Exit code 1:
with --once, the service does not answer.

Examples:
  association-archiver top
  association-archiver top --url http://10.1.2.3:9090
  association-archiver top --once | head -20";

pub fn top(config: Option<&Path>, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let Arguments { url, once } = arguments;
    let settings = match Settings::load(config) {
        Ok(settings) => {
            super::remark_on_settings(&settings);
            Some(settings)
        }
        // On a machine that has only the service's address.
        Err(_) if url.is_some() && config.is_none() => None,
        Err(error) => return Err(error.into()),
    };
    let token = settings.as_ref().map(|settings| settings.admin.token()).transpose()?.flatten();
    let listen = settings.map(|settings| ServiceAddress::of_listen(settings.admin.listen));
    let Some(address) = url.clone().or(listen) else {
        return Err(Failure::Usage("nobody says where the service is: give --url http://HOST:PORT".to_owned()));
    };
    if *once || !std::io::stdout().is_terminal() {
        return print_once(&address);
    }
    runtime::block_on(watch(address, token))
}

fn print_once(address: &ServiceAddress) -> Result<ExitCode, Failure> {
    let status = runtime::block_on(ask(address))?;
    let mut view = View::new(address.as_str(), Theme::without_colours());
    view.answered(status);
    let width = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    output::print(frame_as_text(&mut view, width.unwrap_or(WIDTH_WITHOUT_TERMINAL).max(LEAST_WIDTH)).as_bytes())
}

/// The whole of it, without the last line, which is for keys.
fn frame_as_text(view: &mut View, width: u16) -> String {
    let mut lines = Vec::new();
    let Ok(mut terminal) = Terminal::new(TestBackend::new(width, view.height(width)));
    let Ok(frame) = terminal.draw(|frame| view.draw(frame));
    for row in frame.buffer.content.chunks(width.into()) {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        lines.push(line.trim_end().to_owned());
    }
    lines.pop();
    lines.push(String::new());
    lines.join("\n")
}

async fn ask(address: &ServiceAddress) -> Result<Status, Failure> {
    let answer = admin_call::get(address, "/status").await?;
    Status::read(answer.body).ok_or_else(|| {
        Failure::Running(format!(
            "what answers at {} ({}) is not the service: check the address, which admin.listen has",
            address.as_str(),
            answer.status
        ))
    })
}

/// The live view until `q` or a signal.
async fn watch(address: ServiceAddress, token: Option<SecretString>) -> Result<ExitCode, Failure> {
    let broken = |error: std::io::Error| Failure::Running(format!("the terminal cannot be used: {error}"));
    let stop = CancellationToken::new();
    stop_on_signals(stop.clone(), FirstWords::None, Screen::give_back).map_err(broken)?;
    let mut screen = Screen::open().map_err(broken)?;
    let mut keys = happenings();
    let mut answers = asked_for_ever(address.clone());
    let (told, mut tidings) = mpsc::channel(1);
    let mut desk = Desk { view: View::new(address.as_str(), Theme::of_environment()), address, token, told };
    loop {
        screen.draw(|frame| desk.view.draw(frame)).map_err(broken)?;
        tokio::select! {
            () = stop.cancelled() => return Ok(ExitCode::SUCCESS),
            Some(happening) = keys.recv() => {
                if let Leave::Now = desk.take(happening, &screen) {
                    return Ok(ExitCode::SUCCESS);
                }
            }
            Some(answer) = answers.recv() => match answer {
                Ok(status) => desk.view.answered(status),
                Err(cause) => desk.view.unanswered(cause),
            },
            Some(words) = tidings.recv() => desk.view.footer = Footer::Said(words),
        }
    }
}

/// What the service says, once a second, or why it says nothing.
fn asked_for_ever(address: ServiceAddress) -> mpsc::Receiver<Result<Status, String>> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let answer = ask(&address).await.map_err(Failure::into_message);
            if sender.send(answer).await.is_err() {
                return;
            }
        }
    });
    receiver
}

/// Who sits at the terminal.
struct Desk {
    view: View,
    address: ServiceAddress,
    token: Option<SecretString>,
    /// How orders went.
    told: mpsc::Sender<String>,
}

enum Leave {
    Now,
    NotYet,
}

impl Desk {
    fn take(&mut self, happening: Happening, screen: &Screen) -> Leave {
        if happening == Happening::Interrupt {
            return Leave::Now;
        }
        match std::mem::replace(&mut self.view.footer, Footer::Keys) {
            Footer::Asked(order) => self.answer(order, happening),
            Footer::Token { order, typed } => self.type_token(order, typed, happening),
            Footer::Keys | Footer::Said(_) => return self.watch(happening, screen),
        }
        Leave::NotYet
    }

    fn watch(&mut self, happening: Happening, screen: &Screen) -> Leave {
        match happening {
            Happening::Letter('q') => return Leave::Now,
            Happening::Letter(key @ ('p' | 'a' | 'r')) => {
                let nothing = || Footer::Said(nothing_to_order(key).to_owned());
                self.view.footer = self.view.order(key).map_or_else(nothing, Footer::Asked);
            }
            Happening::Letter('k') => self.view.go(Move::Up, screen.area()),
            Happening::Letter('j') => self.view.go(Move::Down, screen.area()),
            Happening::Move(to) => self.view.go(to, screen.area()),
            Happening::Letter(_)
            | Happening::Enter
            | Happening::Backspace
            | Happening::Escape
            | Happening::Interrupt
            | Happening::Resized => {}
        }
        Leave::NotYet
    }

    /// Only a clear yes is one.
    fn answer(&mut self, order: Order, happening: Happening) {
        match happening {
            Happening::Letter('y' | 'Y') => match self.token.clone() {
                Some(token) => self.send(order, token),
                None => self.view.footer = Footer::Token { order, typed: String::new() },
            },
            Happening::Resized => self.view.footer = Footer::Asked(order),
            Happening::Letter(_)
            | Happening::Move(_)
            | Happening::Enter
            | Happening::Backspace
            | Happening::Escape
            | Happening::Interrupt => {}
        }
    }

    fn type_token(&mut self, order: Order, mut typed: String, happening: Happening) {
        match happening {
            Happening::Escape => return,
            Happening::Enter => return self.send(order, SecretString::from(typed)),
            Happening::Letter(letter) => typed.push(letter),
            Happening::Backspace => {
                typed.pop();
            }
            Happening::Move(_) | Happening::Interrupt | Happening::Resized => {}
        }
        self.view.footer = Footer::Token { order, typed };
    }

    fn send(&mut self, order: Order, token: SecretString) {
        let (address, told) = (self.address.clone(), self.told.clone());
        self.view.footer = Footer::Said(format!("{}: asked …", order.target.subject));
        tokio::spawn(async move {
            let words = match admin_call::post_to(&address, &order.path(), &token).await {
                Ok(answer) if answer.status == 200 => {
                    let note = answer.body.get("note").and_then(serde_json::Value::as_str);
                    order.done(note.map(harmless).as_deref())
                }
                Ok(answer) if answer.status == 202 => match admin_call::give_again(&answer) {
                    Some(note) => format!("{}: {note}", order.target.subject),
                    None => order.handed_on(),
                },
                Ok(answer) => {
                    let said =
                        answer.body.get("error").and_then(serde_json::Value::as_str).unwrap_or("it does not say why");
                    format!("the service refuses ({}): {}", answer.status, harmless(said))
                }
                Err(failure) => failure.into_message(),
            };
            // Nobody listens once the view is closed.
            let _ = told.send(words).await;
        });
    }
}

/// Where the chosen row has nothing that `key` orders.
fn nothing_to_order(key: char) -> &'static str {
    match key {
        'p' => "choose an account, a lane or what stands still first, with the arrows",
        _ => {
            "no guard waits for an answer (safety.max_pairs), or several do: choose the account first, with the arrows"
        }
    }
}
