//! QEMU's monitor (QMP).

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
};

use serde_json::{Value, json};

use crate::DEADLINE;

#[derive(Debug)]
pub(crate) struct Monitor {
    stream: BufReader<UnixStream>,
}

impl Monitor {
    pub fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).expect("a socket has a timeout");
        let mut monitor = Self { stream: BufReader::new(stream) };
        monitor.read();
        monitor.execute("qmp_capabilities", json!({}));
        let events = json!({ "capabilities": [{ "capability": "events", "state": true }] });
        monitor.execute("migrate-set-capabilities", events);
        monitor
    }

    pub fn execute(&mut self, command: &str, arguments: Value) -> Value {
        let request = json!({ "execute": command, "arguments": arguments });
        writeln!(self.stream.get_mut(), "{request}").expect("QEMU listens");
        loop {
            let mut message = self.read();
            if message.get("event").is_none() {
                assert!(message.get("error").is_none(), "QEMU: {request}: {message}");
                return message["return"].take();
            }
        }
    }

    /// Waits until the memory has been read or written as a whole.
    pub fn await_migration(&mut self) {
        loop {
            let message = self.read();
            match message["data"]["status"].as_str() {
                Some("completed") => return,
                Some("failed") => panic!("QEMU cannot copy the machine's memory: {message}"),
                _ => {}
            }
        }
    }

    fn read(&mut self) -> Value {
        let mut line = String::new();
        let len = self.stream.read_line(&mut line).unwrap_or_else(|error| panic!("QEMU says nothing: {error}"));
        assert!(len > 0, "QEMU has ended");
        serde_json::from_str(&line).expect("QMP is JSON")
    }
}
