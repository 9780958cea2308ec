//! What a running controller does, beside what the machine could do, in one run.
//!
//! - *plain sync*: a loop of 4 KiB `pwrite` and `fdatasync` in the same folder: the price of one durable commit, alone.
//! - *trivial handler*: axum answering the same body without looking at anything: the price of HTTP.

use super::controller::{Server, agent, get};
use anyhow::{Context, Result, ensure};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// How many clients at once.
const CLIENTS: [usize; 3] = [1, 32, 256];
/// How long each row is measured: long enough for thousands of events, short enough to be run often.
const EACH: Duration = Duration::from_secs(4);

/// Measures in `folder` and prints a table.
pub(super) fn run(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).context("cannot make a folder")?;
    println!("| what | clients | per second | p50 ms | p99 ms | beside |");
    println!("|---|---|---|---|---|---|");
    let plain = plain_sync(folder)?;
    println!("| plain sync | 1 | {plain:.0} | | | |");
    let server = Server::start(&folder.join("data"))?;
    let sample = server.sample()?;
    let trivial = trivial_handler(sample.to_string())?;
    for clients in CLIENTS {
        let bare = drive(clients, |agent, _| get(agent, &format!("http://{trivial}/")).map(drop))?;
        bare.print("trivial handler", clients, "");
        let url = server.url(&format!("/block/volumes/{}", sample["id"].as_str().context("an id")?));
        let got = drive(clients, |agent, _| get(agent, &url).map(drop))?;
        got.print("GET a volume", clients, &format!("{:.2} of the trivial handler", got.rate / bare.rate));
    }
    for clients in CLIENTS {
        let before = server.revision()?;
        let made = drive(clients, |agent, turn| server.create(agent, turn).map(drop))?;
        let commits = server.revision()? - before;
        let rate = f64::from(u32::try_from(commits).unwrap_or(u32::MAX)) / made.took.as_secs_f64();
        made.print("create until available", clients, "");
        let each = rate / made.rate;
        println!("| commits | {clients} | {rate:.0} | | | {:.2} of plain sync; {each:.2} a create |", rate / plain);
    }
    Ok(())
}

/// What a row measured.
struct Row {
    took: Duration,
    rate: f64,
    /// How long each took, sorted.
    each: Vec<Duration>,
}

impl Row {
    fn print(&self, what: &str, clients: usize, beside: &str) {
        let at = |part: f64| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "an index")]
            let index = ((self.each.len() - 1) as f64 * part) as usize;
            self.each[index].as_secs_f64() * 1e3
        };
        println!("| {what} | {clients} | {:.0} | {:.2} | {:.2} | {beside} |", self.rate, at(0.5), at(0.99));
    }
}

/// Lets so many clients do `once` again and again, each on a connection of its own that is kept open.
fn drive(clients: usize, once: impl Fn(&ureq::Agent, usize) -> Result<()> + Sync) -> Result<Row> {
    let begun = Instant::now();
    let one = |client: usize| -> Result<Vec<Duration>> {
        let agent = agent();
        let mut each = Vec::new();
        while begun.elapsed() < EACH {
            let at = Instant::now();
            once(&agent, client * 1_000_000 + each.len())?;
            each.push(at.elapsed());
        }
        Ok(each)
    };
    let all = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients).map(|client| scope.spawn(move || one(client))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a client does not panic")).collect::<Result<Vec<_>>>()
    })?;
    let took = begun.elapsed();
    let mut each = all.concat();
    each.sort_unstable();
    ensure!(!each.is_empty(), "nothing was done in {EACH:?}");
    let rate = f64::from(u32::try_from(each.len()).unwrap_or(u32::MAX)) / took.as_secs_f64();
    Ok(Row { took, rate, each })
}

fn plain_sync(folder: &Path) -> Result<f64> {
    let file = std::fs::File::create(folder.join("plain")).context("cannot write")?;
    let (begun, mut count, block) = (Instant::now(), 0_u32, [0x5a; 4096]);
    while begun.elapsed() < EACH {
        file.write_all_at(&block, u64::from(count) * 4096)?;
        file.sync_data()?;
        count += 1;
    }
    Ok(f64::from(count) / begun.elapsed().as_secs_f64())
}

/// Serves `body` to every request, on a runtime of its own as large as the controller's; until the process ends.
fn trivial_handler(body: String) -> Result<SocketAddr> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let json = [("content-type", "application/json; charset=utf-8")];
            let router = axum::Router::new().fallback(move || async move { (json, body) });
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            sender.send(listener.local_addr().expect("an address")).expect("it is awaited");
            axum::serve(listener, router).await.expect("it serves");
        });
    });
    receiver.recv().context("the trivial handler did not start")
}
