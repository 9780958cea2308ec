//! README's five minutes, as they stand there.
