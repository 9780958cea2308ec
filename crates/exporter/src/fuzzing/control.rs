//! What may come over the control socket: to the reader of frames alone, and to a data plane that serves.
//!
//! Whoever speaks there is root or the data plane's own user, so this is about mistakes: a release that speaks otherwise, a stream
//! that was cut. No input opens a file of its choice: paths are moved into the folder that the caller gives.

mod panics;
#[cfg(test)]
mod seeds;

use super::{CONVERSATION_MAX, KEY, PATIENCE};
use crate::names::NameKey;
use crate::plane::message::{ANSWER_MAX, ASK_MAX, Answered, Ask, Asked, Hello, PROTOCOL, Welcome, frame, parse, read};
use crate::plane::{DataPlane, status};
use crate::port::Options;
use engine::ports::{Backing, ExportSpec};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::oneshot;

/// The file that there is in the folder; an input that names it has something to export.
const VOLUME: &str = "volume";
/// How long a frame's length is.
const LENGTH: usize = 4;

/// Reads `input` as frames, once as each of the words that either side hears, up to the first that makes no sense.
///
/// # Panics
/// If what was read is not told in a frame that reads as the same.
pub fn words(input: &[u8]) {
    every::<Hello>(input, ASK_MAX);
    every::<Asked>(input, ASK_MAX);
    every::<Welcome>(input, ANSWER_MAX);
    every::<Answered>(input, ANSWER_MAX);
}

fn every<T: DeserializeOwned + Serialize + PartialEq + Debug>(mut input: &[u8], max: u32) {
    while let Ok(Some(said)) = at_once(read::<T>(&mut input, max)) {
        let bytes = frame(&said).expect("what came in JSON can be told in JSON");
        let (length, told) = bytes.split_first_chunk::<LENGTH>().expect("a frame has a length");
        assert_eq!(usize::try_from(u32::from_be_bytes(*length)).expect("64-bit"), told.len(), "a frame's length is another");
        let again: T = parse(told).expect("it reads what it tells");
        assert_eq!(again, said, "a frame reads as something else");
    }
}

/// What comes of reading from memory, which is never waited for.
fn at_once<T>(reading: impl Future<Output = T>) -> T {
    match pin!(reading).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(read) => read,
        Poll::Pending => panic!("it waits for more than there is"),
    }
}

/// Where data planes run, one after another.
pub struct Planes {
    folder: PathBuf,
}

impl Planes {
    /// Uses `folder`, and makes a file in it that can be exported.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        std::fs::write(folder.join(VOLUME), [0xa5; 4096]).expect("the file can be made");
        Self { folder: folder.to_owned() }
    }

    /// A client connects to the control socket of a new data plane, says `input` and no more, and hears whatever comes.
    ///
    /// # Panics
    /// If the data plane panics or hangs, answers what was not asked or leaves out what was, serves nobody else afterwards, or does
    /// not end when it is to.
    pub fn hear(&self, input: &[u8]) {
        if input.len() > CONVERSATION_MAX {
            return;
        }
        let script = Script::of(input, &self.folder);
        let before = panics::count();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("there are descriptors left");
        let served = runtime.block_on(async { tokio::time::timeout(PATIENCE, self.serve(&script)).await });
        assert!(served.is_ok(), "the data plane neither answers nor ends");
        drop(runtime);
        // A task that panics ends alone, and is told nobody.
        assert_eq!(panics::count(), before, "the data plane panicked");
    }

    async fn serve(&self, script: &Script) {
        let plane = DataPlane::start(&self.folder, options()).await.expect("it starts");
        let (end, ended) = oneshot::channel::<()>();
        let stop = async {
            // Dropping the sender is what ends it.
            let _ = ended.await;
        };
        let client = async move {
            let _end = end;
            self.say(script).await;
            if !script.may_stop {
                status(&self.folder).await.expect("it serves the next one");
            }
        };
        tokio::join!(plane.run(stop), client);
    }

    async fn say(&self, script: &Script) {
        let stream = UnixStream::connect(self.folder.join("data-plane.sock")).await.expect("it listens");
        let (mut from, mut to) = stream.into_split();
        let telling = async {
            // It need not hear all of what makes no sense.
            let _ = to.write_all(&script.bytes).await;
            script.is_answered_in_full().then_some(to)
        };
        let hearing = async {
            let welcome: Option<Welcome> = heard(&mut from).await;
            assert_eq!(welcome.is_some(), script.says_hello, "a hello is what is welcomed");
            // More than there is to be is waited for until the connection ends.
            answers(&mut from, if script.is_answered_in_full() { script.numbers.len() } else { usize::MAX }).await
        };
        let (held, mut numbers) = tokio::join!(telling, hearing);
        // Questions whose asker is gone are given up, so it stays until it has heard everything.
        drop(held);
        numbers.extend(answers(&mut from, usize::MAX).await);
        script.check(numbers);
    }
}

/// The numbers of at most so many answers.
async fn answers(from: &mut OwnedReadHalf, most: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.len() < most
        && let Some(answered) = heard::<Answered>(from).await
    {
        numbers.push(answered.number);
    }
    numbers
}

/// The next frame; nothing once the connection has ended, in order or not.
async fn heard<T: DeserializeOwned>(from: &mut OwnedReadHalf) -> Option<T> {
    match read(from, ANSWER_MAX).await {
        Ok(said) => said,
        Err(error) => {
            assert!(error.kind() != io::ErrorKind::InvalidData, "what is answered makes no sense: {error}");
            None
        }
    }
}

fn options() -> Options {
    Options {
        tcp: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        // No client of NBD ever comes.
        grace: Duration::ZERO,
        key: NameKey::from(KEY),
        ..Options::default()
    }
}

/// What is said to a data plane, and what must come of it.
#[derive(Default)]
struct Script {
    bytes: Vec<u8>,
    /// Whether there is a hello, of whatever version.
    says_hello: bool,
    /// The numbers of the questions, up to the first frame that makes no sense.
    numbers: Vec<u64>,
    /// Whether it makes sense up to the end.
    is_sound: bool,
    /// Whether any question is given up.
    cancels: bool,
    /// Whether it asks for the end.
    may_stop: bool,
}

impl Script {
    fn of(input: &[u8], folder: &Path) -> Self {
        let mut script = Self::default();
        let mut left = input;
        script.is_sound = script.hello(&mut left) && script.questions(&mut left, folder);
        script.bytes.extend_from_slice(left);
        script
    }

    /// Whether questions are heard after it.
    fn hello(&mut self, left: &mut &[u8]) -> bool {
        let Some(whole) = cut(left) else { return false };
        self.bytes.extend_from_slice(whole);
        let hello: Option<Hello> = parse(&whole[LENGTH..]).ok();
        self.says_hello = hello.is_some();
        hello.is_some_and(|hello| hello.protocol == PROTOCOL)
    }

    /// Whether all that is left are questions.
    fn questions(&mut self, left: &mut &[u8], folder: &Path) -> bool {
        while let Some(whole) = cut(left) {
            let Ok(Asked { number, ask }) = parse(&whole[LENGTH..]) else {
                self.bytes.extend_from_slice(whole);
                return false;
            };
            match &ask {
                Ask::Cancel => self.cancels = true,
                Ask::Stop { .. } => self.may_stop = true,
                Ask::Export { .. } | Ask::Unexport { .. } | Ask::Inspect { .. } | Ask::List | Ask::Clients { .. } | Ask::Status => {
                }
            }
            if !matches!(ask, Ask::Cancel) {
                self.numbers.push(number);
            }
            if let Ask::Export { token, spec } = ask {
                let ask = Ask::Export { token, spec: confined(spec.into(), folder).into() };
                self.bytes.extend(frame(&Asked { number, ask }).expect("its path was UTF-8"));
            } else {
                self.bytes.extend_from_slice(whole);
            }
        }
        left.is_empty()
    }

    /// Whether each question must be answered, if the client stays for it.
    const fn is_answered_in_full(&self) -> bool {
        self.is_sound && !self.cancels && !self.may_stop
    }

    fn check(&self, mut answered: Vec<u64>) {
        let mut asked = self.numbers.clone();
        if self.is_answered_in_full() {
            asked.sort_unstable();
            answered.sort_unstable();
            assert_eq!(answered, asked, "the questions and what was answered");
            return;
        }
        for number in answered {
            let at = asked.iter().position(|asked| *asked == number);
            asked.swap_remove(at.unwrap_or_else(|| panic!("{number} is answered and was not asked")));
        }
    }
}

/// The next whole frame, with its length.
fn cut<'a>(left: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = left.first_chunk::<LENGTH>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).expect("64-bit");
    let (whole, rest) = left.split_at_checked(LENGTH + length)?;
    *left = rest;
    Some(whole)
}

/// The same with its path's last part in the folder, whatever the others were.
fn confined(mut spec: ExportSpec, folder: &Path) -> ExportSpec {
    let Backing::File(path) = &spec.backing;
    let name = path.file_name().unwrap_or("nameless".as_ref());
    spec.backing = Backing::File(folder.join(name));
    spec
}

#[cfg(test)]
mod tests {
    use super::*;
    use ground::corpus::replay;

    #[test]
    fn kept_words_are_survived() {
        replay("control_words", 20, words);
    }

    #[test]
    fn kept_control_sessions_are_survived() {
        let folder = tempfile::tempdir().expect("a folder");
        let planes = Planes::new(folder.path());
        let answered = std::cell::Cell::new(0);
        replay("control_session", 20, |input| {
            planes.hear(input);
            let script = Script::of(input, folder.path());
            answered.set(answered.get() + u32::from(script.is_answered_in_full() && !script.numbers.is_empty()));
        });
        // Inputs in the words of a former version end at once, and would try nothing for ever.
        assert!(answered.get() >= 10, "only {} kept inputs are answered in full: have the words changed?", answered.get());
    }
}
