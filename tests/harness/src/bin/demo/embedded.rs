//! The demo without a broker: the same jobs as lines on the stdin of `association-archiver archive`.

use std::collections::BTreeMap;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use harness::{Outcome, Status, Worker};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};

use crate::answers::Answers;
use crate::live::Live;
use crate::settings::Settings;
use crate::traffic::Traffic;

/// What `archive` ends with when some jobs were not archived, as some here must not be.
const SOME_NOT_ARCHIVED: i32 = 3;

/// Feeds everything and reads every answer.
pub async fn run(traffic: &Traffic, settings: &Settings, live: &mut Live) -> Result<Answers> {
    let mut command = Worker::command()?;
    for (key, value) in settings.pairs() {
        command.env(format!("ARCHIVER__{}", key.to_uppercase().replace('.', "__")), value);
    }
    command.arg("archive").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("association-archiver could not be started")?;
    let stdin = child.stdin.take().context("no stdin")?;
    let stdout = child.stdout.take().context("no stdout")?;
    let stderr = child.stderr.take().context("no stderr")?;

    let owed = owed(traffic);
    live.begin(owed.values().map(Vec::len).sum());
    let all = async { tokio::try_join!(feed(stdin, traffic), read(stdout, live), complaints(stderr)) };
    let ((), outcomes, said) =
        tokio::time::timeout(settings.deadline(), all).await.context("the embedded run took too long")??;
    live.end(outcomes.len());
    let code = child.wait().await?.code();
    ensure!(code == Some(SOME_NOT_ARCHIVED), "`archive` ended with {code:?}, not {SOME_NOT_ARCHIVED}: {said}");
    Ok(Answers { owed, outcomes, left: 0, dead_letters: None })
}

async fn feed(mut stdin: ChildStdin, traffic: &Traffic) -> Result<()> {
    let mut lines = Vec::new();
    for submission in &traffic.submissions {
        lines.extend_from_slice(&submission.body);
        lines.push(b'\n');
    }
    stdin.write_all(&lines).await.context("`archive` stopped reading")
}

async fn read(stdout: ChildStdout, live: &mut Live) -> Result<Vec<Outcome>> {
    let mut lines = BufReader::new(stdout).lines();
    let mut outcomes = Vec::new();
    while let Some(line) = lines.next_line().await? {
        outcomes.push(Outcome::from_json(&line)?);
        live.show_answered(outcomes.len());
    }
    Ok(outcomes)
}

async fn complaints(mut stderr: ChildStderr) -> Result<String> {
    let mut said = String::new();
    stderr.read_to_string(&mut said).await?;
    Ok(said)
}

/// A line has no message id: what names no job of its own is answered by its number.
fn owed(traffic: &Traffic) -> BTreeMap<String, Vec<Status>> {
    let mut owed: BTreeMap<String, Vec<Status>> = BTreeMap::new();
    for (index, submission) in traffic.submissions.iter().enumerate() {
        let id = submission.job_id().unwrap_or_else(|| format!("line-{}", index + 1));
        owed.entry(id).or_default().push(submission.answer);
    }
    owed
}
