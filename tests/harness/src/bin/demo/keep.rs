//! `KEEP=1`: after the check the worker goes on with some traffic, so that there is something to look at and to try.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use harness::port::free_port;
use harness::{Broker, Client, Message, Until, Worker};
use tokio::io::AsyncReadExt;
use tokio::time::interval;

use crate::over_broker::{JOBS, READY_LIMIT, RESULTS};
use crate::settings::Settings;
use crate::traffic;

/// Where the page is by default, and in every document.
const USUAL_PORT: u16 = 9090;
const TOKEN: &str = "demo";
const JOBS_A_SECOND: usize = 60;
/// What one reader took is forgotten then.
const ONE_READER: Duration = Duration::from_secs(60);
const ROWS: usize = 2_000;

/// Keeps a worker at work until somebody presses Enter or Ctrl-C.
pub async fn on(broker: &Broker, settings: &Settings) -> Result<()> {
    let port = match TcpListener::bind(("127.0.0.1", USUAL_PORT)) {
        Ok(_) => USUAL_PORT,
        Err(_) => free_port()?,
    };
    let mut pairs = settings.pairs().map(|(key, value)| (key.to_owned(), value)).to_vec();
    pairs.extend([("amqp.uri", broker.uri()), ("admin.token", TOKEN.to_owned())].map(|(key, to)| (key.to_owned(), to)));
    let builder = pairs.iter().fold(Worker::builder(), |builder, (key, value)| builder.set(key, value));
    let worker = builder.admin_port(port).start()?;
    worker.ready(READY_LIMIT).await?;
    pairs.push(("admin.listen".to_owned(), format!("127.0.0.1:{port}")));
    let place = write_down(&pairs)?;
    say_what_to_do(&place, port);

    let (sender, reader) = (Client::new(&broker.uri()), Client::new(&broker.uri()));
    tokio::select! {
        failed = send(&sender) => failed,
        failed = read(&reader) => failed,
        () = told_to_end() => Ok(()),
    }
    .with_context(|| worker.last_words())?;
    worker.term()?;
    worker.wait(READY_LIMIT).await.map(drop)
}

/// Variables for another terminal, and a file of pairs, three of which are refused.
fn write_down(settings: &[(String, String)]) -> Result<PathBuf> {
    let program = std::env::current_exe().context("the path of the running executable is not known")?;
    let programs = program.parent().context("a program without a directory")?;
    let place = programs.parent().context("a program without a target directory")?.join("demo");
    fs::create_dir_all(&place).with_context(|| place.display().to_string())?;
    let mut text = format!("export PATH=\"{}:$PATH\"\n", programs.display());
    for (key, value) in settings {
        text.push_str(&format!("export ARCHIVER__{}='{value}'\n", key.to_uppercase().replace('.', "__")));
    }
    fs::write(place.join("env"), text)?;
    let rows = (0..ROWS).map(|row| format!("contacts,{},companies,{}\n", traffic::from_of(row), 9_000_000 + row));
    let header = "from_object_type,from_id,to_object_type,to_id\n".to_owned();
    fs::write(place.join("pairs.csv"), std::iter::once(header).chain(rows).collect::<String>())?;
    Ok(place)
}

fn say_what_to_do(place: &Path, port: u16) {
    let place = place.display();
    println!(
        "
  The worker goes on with {JOBS_A_SECOND} jobs a second. Enter ends it.

  Its page:  http://127.0.0.1:{port}/   (its buttons ask for the token: {TOKEN})

  In another terminal:
    source {place}/env
    association-archiver top
    association-archiver check
    association-archiver enqueue {place}/pairs.csv --follow --outcomes outcomes.csv
    association-archiver pause {portal}        # and: resume {portal}",
        portal = traffic::PORTAL
    );
}

/// Sends for ever; returns only an error.
async fn send(client: &Client) -> Result<()> {
    let mut seconds = interval(Duration::from_secs(1));
    for round in 0.. {
        seconds.tick().await;
        let jobs = (0..JOBS_A_SECOND).map(|number| traffic::going_on(round * JOBS_A_SECOND + number));
        client.publish(JOBS, jobs.collect::<Result<Vec<Message>>>()?).await?;
    }
    Ok(())
}

/// Takes the outcomes, as the system that sent the jobs does.
async fn read(client: &Client) -> Result<()> {
    loop {
        client.collect(RESULTS, Until::Count(usize::MAX), ONE_READER).await?;
    }
}

async fn told_to_end() {
    let enter = async {
        // Where nobody can press it, as in a script, only a signal ends it.
        if !matches!(tokio::io::stdin().read(&mut [0; 64]).await, Ok(1..)) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = enter => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
