//! Live NBD clients (libnbd): they write patterned blocks, flush, read back, and compare, while everything around them fails.
//!
//! A block must read as what was flushed last, or as something written since that is not flushed yet. A client that loses its
//! connection connects again, as a block layer does; an error that it is answered makes what it wrote uncertain, never what it flushed.

use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a client may take to verify everything at its end, the connection included.
const PATIENCE: Duration = Duration::from_secs(60);

const WRITER: &str = r"
import nbd, random, select, sys, time
uri, seed = sys.argv[1], int(sys.argv[2])
BLOCK, BLOCKS, PATIENCE = 16384, 64, 45
dice = random.Random(seed)
# What each block may read as: what was flushed last, and what was written since.
allowed = [{0} for _ in range(BLOCKS)]
turn = flushed = connections = 0

def connect():
    global connections
    deadline = time.monotonic() + PATIENCE
    while True:
        handle = nbd.NBD()
        try:
            handle.connect_uri(uri)
            connections += 1
            return handle
        except nbd.Error as error:
            if time.monotonic() > deadline:
                sys.exit('no connection within %d s: %s' % (PATIENCE, error))
            time.sleep(0.02)

def pattern(value):
    return value.to_bytes(8, 'big') * (BLOCK // 8)

def verify(handle, blocks):
    for at in blocks:
        read = bytes(handle.pread(BLOCK, at * BLOCK))
        value = int.from_bytes(read[:8], 'big')
        if read != pattern(value) or value not in allowed[at]:
            sys.exit('LIE: block %d of %s reads %d, not one of %s' % (at, uri, value, sorted(allowed[at])))

def ended():
    return bool(select.select([sys.stdin], [], [], 0)[0])

handle = connect()
print('connected', flush=True)
while not ended():
    turn += 1
    blocks = dice.sample(range(BLOCKS), 16)
    written = []
    try:
        for at in blocks:
            allowed[at].add(turn)
            handle.pwrite(pattern(turn), at * BLOCK)
            written.append(at)
        handle.flush()
        for at in written:
            allowed[at] = {turn}
        flushed += 1
        verify(handle, blocks)
        time.sleep(0.002)
    except nbd.Error:
        if handle.aio_is_dead() or handle.aio_is_closed():
            handle = connect()
        else:
            time.sleep(0.02)
deadline = time.monotonic() + PATIENCE
while True:
    try:
        handle = connect()
        verify(handle, range(BLOCKS))
        handle.shutdown()
        break
    except nbd.Error as error:
        if time.monotonic() > deadline:
            sys.exit('nothing can be read: %s' % error)
        time.sleep(0.05)
print(flushed, connections, flush=True)
";

/// A client that connects and then does nothing.
const HOLDER: &str = "
import nbd, sys
handle = nbd.NBD()
handle.connect_uri(sys.argv[1])
print('connected', flush=True)
sys.stdin.read()
";

/// A client.
pub(super) struct Client {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

/// What a client did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Done {
    pub(super) flushes: u64,
    pub(super) connections: u64,
}

impl Client {
    /// One that writes, flushes and compares until it is ended.
    pub(super) fn writes(uri: &str, seed: u64) -> Result<Self> {
        Self::start(WRITER, &[uri, &seed.to_string()])
    }

    /// One that is only connected.
    pub(super) fn holds(uri: &str) -> Result<Self> {
        Self::start(HOLDER, &[uri])
    }

    fn start(program: &str, args: &[&str]) -> Result<Self> {
        // Debian's own Python, which has Debian's libnbd.
        let mut command = Command::new("/usr/bin/python3");
        command.arg("-c").arg(program).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot run python3")?;
        let output = BufReader::new(child.stdout.take().context("piped")?);
        let mut client = Self { child, output };
        match client.line()?.as_str() {
            "connected" => Ok(client),
            _ => bail!("the client did not connect: {}", client.complaint()),
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line).context("it writes lines")?;
        Ok(line.trim().to_owned())
    }

    fn complaint(&mut self) -> String {
        let mut text = String::new();
        if let Some(errors) = &mut self.child.stderr {
            let _ = errors.read_to_string(&mut text);
        }
        text
    }

    /// Lets it read everything back, and ends it.
    ///
    /// # Errors
    /// What it read was not what was flushed, or nothing could be read in time.
    pub(super) fn end(mut self) -> Result<Done> {
        drop(self.child.stdin.take());
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                bail!("a client did not end within {PATIENCE:?}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let line = self.line()?;
        let words: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        match words[..] {
            [flushes, connections] => Ok(Done { flushes, connections }),
            _ => bail!("a client failed: {}", self.complaint()),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
