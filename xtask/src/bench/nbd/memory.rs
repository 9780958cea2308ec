//! What the process that serves NBD holds: empty, with a thousand idle exports, with a hundred clients, right after they were busy,
//! and once they have been quiet for as long as the server waits until it gives memory back.
//!
//! The clients are made here: a handshake, and requests one at a time, so that a hundred of them cost no process each.

use crate::bench::controller::Server;
use crate::bench::report::Report;
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

/// How many exports there are.
const EXPORTS: usize = 1000;
/// How many clients are connected, each to an export of its own.
const CLIENTS: usize = 100;
/// What a busy client reads and writes at a time: the most that Linux' client asks for by default is below.
const BUSY: u32 = 1 << 20;
/// How many such requests each sends.
const TURNS: u64 = 8;
/// For how long they are quiet: well beyond the server's own three seconds.
const QUIET: Duration = Duration::from_secs(8);

/// Measures in `folder` and prints a table.
pub(super) fn run(folder: &Path, report: &mut Report) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let server = Server::start(&folder.join("data"))?;
    let host = server.host("bench")?;
    println!("\n| the process that serves NBD | RSS KiB | PSS KiB |");
    println!("|---|---|---|");
    print("at rest", &server, report)?;
    let mut uris = Vec::new();
    for turn in 0..EXPORTS {
        let data = server.attach(&server.create(&server.agent, turn)?, &host)?;
        uris.push(data["uri"].as_str().context("no uri")?.to_owned());
    }
    print(&format!("{EXPORTS} idle exports"), &server, report)?;
    let mut clients = uris[..CLIENTS].iter().map(|uri| Client::connect(uri)).collect::<Result<Vec<_>>>()?;
    print(&format!("and {CLIENTS} clients"), &server, report)?;
    for client in &mut clients {
        client.be_busy()?;
    }
    print("which each wrote and read 8 MiB just now", &server, report)?;
    std::thread::sleep(QUIET);
    print("and have been quiet since", &server, report)
}

fn print(what: &str, server: &Server, report: &mut Report) -> Result<()> {
    let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", server.data_plane()?)).context("cannot read its memory")?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB")).unwrap_or("?");
    let [rss, pss] = [field("Rss:"), field("Pss:")];
    println!("| {what} | {rss} | {pss} |");
    report.note(
        "nbd",
        &format!("memory {what}"),
        &json!({}),
        &[json!({ "rssKib": rss.parse::<u64>()?, "pssKib": pss.parse::<u64>()? })],
    );
    Ok(())
}

/// A client that waits for each answer. Source: NBD protocol document.
struct Client(TcpStream);

impl Client {
    fn connect(uri: &str) -> Result<Self> {
        let (address, name) = uri.strip_prefix("nbd://").and_then(|rest| rest.split_once('/')).context("an NBD URI")?;
        let mut client = Self(TcpStream::connect(address)?);
        client.take(18)?;
        let length = u32::try_from(name.len())?;
        let mut go = [3_u32.to_be_bytes().as_slice(), b"IHAVEOPT", &7_u32.to_be_bytes()].concat();
        go.extend([(length + 6).to_be_bytes(), length.to_be_bytes()].concat());
        go.extend(name.bytes().chain([0, 0]));
        client.0.write_all(&go)?;
        loop {
            let header = client.take(20)?;
            let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().expect("four bytes"));
            client.take(number(16))?;
            match number(12) {
                1 => return Ok(client),
                kind => ensure!(kind == 3, "the export {name} was refused with {kind:#x}"),
            }
        }
    }

    fn be_busy(&mut self) -> Result<()> {
        let data = vec![7; usize::try_from(BUSY)?];
        for turn in 0..TURNS {
            let offset = turn * u64::from(BUSY);
            self.ask(1, offset, &data)?;
            self.take(16)?;
            self.ask(0, offset, &[])?;
            let answer = self.take(16 + BUSY)?;
            ensure!(answer[16..] == data, "what was written was not read");
        }
        Ok(())
    }

    fn ask(&mut self, command: u16, offset: u64, data: &[u8]) -> Result<()> {
        let mut request =
            [0x2560_9513_u32.to_be_bytes().as_slice(), &0_u16.to_be_bytes(), &command.to_be_bytes(), &[7; 8]].concat();
        request.extend([offset.to_be_bytes().as_slice(), &BUSY.to_be_bytes(), data].concat());
        Ok(self.0.write_all(&request)?)
    }

    fn take(&mut self, length: u32) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(length)?];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}
