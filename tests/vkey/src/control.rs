//! The control socket: one command a line, one answer a line.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::exit;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::net::{RecvFlags, recv};

use crate::device::{Busy, Device, Fault, Finger, Kind, Line, Stage, Touch};
use crate::{hex, unhex};

pub fn serve(device: &Arc<Device>, listener: UnixListener) {
    for stream in listener.incoming().flatten() {
        let device = device.clone();
        thread::spawn(move || talk(&device, &stream));
    }
}

fn talk(device: &Device, stream: &UnixStream) {
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let reply = match execute(device, &line, stream) {
            Ok(reply) if reply.is_empty() => "ok".to_owned(),
            Ok(reply) => format!("ok {reply}"),
            Err(error) => format!("error {error}"),
        };
        if writeln!(&*stream, "{reply}").is_err() {
            return;
        }
        if line == "quit" {
            device.plug(false);
            device.until(|state| !state.present);
            exit(0);
        }
    }
}

fn execute(device: &Device, line: &str, stream: &UnixStream) -> Result<String, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut state = device.state();
    match words[..] {
        ["touch"] => state.touched = true,
        ["touch", mode] => {
            state.touch = match mode {
                "auto" => Touch::Auto,
                "deny" => Touch::Deny,
                "wait" => Touch::Wait,
                _ => return Err(format!("no such mode: {mode}")),
            };
            state.touched = false;
        }
        ["finger", "good"] => state.finger = Finger::Good,
        ["finger", "bad"] => state.finger = Finger::Bad,
        ["finger", "blocked"] => state.finger = Finger::Blocked,
        ["await", "touch"] => {
            drop(state);
            device.until(|state| state.is_asking());
        }
        ["count"] => {
            let (touches, signatures, silent, pins) = (state.touches, state.signatures, state.silent, state.pins);
            return Ok(format!("touches={touches} signatures={signatures} silent={silent} pins={pins}"));
        }
        ["pin", pin] => {
            state.pin = (pin != "none").then(|| pin.to_owned());
            state.retries = 8;
            state.wrong_in_a_row = 0;
            state.token = None;
        }
        ["retries"] => return Ok(state.retries.to_string()),
        ["retries", number] => state.retries = parse(number)?,
        ["counter"] => return Ok(state.counter.to_string()),
        ["counter", "frozen"] => state.frozen = true,
        ["counter", number] => {
            let next: u32 = parse(number)?;
            state.frozen = next == 0;
            state.counter = next.saturating_sub(1);
        }
        ["fault", name] => (state.fault, state.fault_from) = (fault(name)?, Stage::Touch),
        ["fault", name, from] => (state.fault, state.fault_from) = (fault(name)?, stage(from)?),
        ["late", time] => state.late = milliseconds(time)?,
        ["slow", time] => state.slow = (milliseconds(time)?, Stage::Info),
        ["slow", time, from] => state.slow = (milliseconds(time)?, stage(from)?),
        ["busy", how] => state.busy = (busy(how)?, Stage::Info),
        ["busy", how, from] => state.busy = (busy(how)?, stage(from)?),
        ["lose", number] => state.lose = (parse(number)?, Stage::Info),
        ["lose", number, of] => state.lose = (parse(number)?, stage(of)?),
        ["status", "none"] => state.status = None,
        ["status", code] => state.status = Some((status(code)?, Stage::Silent)),
        ["status", code, of] => state.status = Some((status(code)?, stage(of)?)),
        ["foreign", "none"] => state.foreign = None,
        ["foreign", "lost"] => state.foreign = Some(Vec::new()),
        ["foreign", answer] => state.foreign = Some(unhex(answer).ok_or("not hexadecimal")?),
        ["locked"] => state.locked = true,
        ["unlocked"] => state.locked = false,
        ["protect", level] => state.protect = parse(level)?,
        ["force-pin"] => state.force_pin = true,
        ["plug"] | ["unplug"] => {
            drop(state);
            let plugged = words[0] == "plug";
            // a key that has died goes first
            device.until(|state| state.plugged || !state.present);
            device.plug(plugged);
            device.until(|state| state.present == plugged);
        }
        ["ctap", request] => {
            drop(state);
            let request = unhex(request).ok_or("not hexadecimal")?;
            let answer = device.answer(Kind::Cbor, &request, &mut ControlLine(stream)).ok_or("no answer")?;
            return Ok(hex(&answer));
        }
        ["quit"] => {}
        _ => return Err(format!("no such command: {line}")),
    }
    device.changed.notify_all();
    Ok(String::new())
}

fn parse<T: std::str::FromStr>(number: &str) -> Result<T, String> {
    number.parse().map_err(|_| format!("not a number: {number}"))
}

fn stage(name: &str) -> Result<Stage, String> {
    Ok(match name {
        "open" => Stage::Open,
        "info" => Stage::Info,
        "silent" => Stage::Silent,
        "touch" => Stage::Touch,
        _ => return Err(format!("no such stage: {name}")),
    })
}

fn milliseconds(number: &str) -> Result<Duration, String> {
    parse(number).map(Duration::from_millis)
}

fn busy(how: &str) -> Result<Busy, String> {
    Ok(match how {
        "never" => Busy::Never,
        "once" => Busy::Once,
        "always" => Busy::Always,
        time => Busy::For(milliseconds(time)?),
    })
}

fn status(code: &str) -> Result<u8, String> {
    u8::from_str_radix(code, 16).map_err(|_| format!("not hexadecimal: {code}"))
}

fn fault(name: &str) -> Result<Fault, String> {
    Ok(match name {
        "none" => Fault::None,
        "bad-signature" => Fault::BadSignature,
        "no-up" => Fault::NoUp,
        "no-uv" => Fault::NoUv,
        "wrong-rpid" => Fault::WrongRpId,
        "garbage" => Fault::Garbage,
        "hang" => Fault::Hang,
        "keepalive" => Fault::Keepalive,
        "replay" => Fault::Replay,
        "bad-cbor" => Fault::BadCbor,
        "huge-cbor" => Fault::HugeCbor,
        "wrong-channel" => Fault::WrongChannel,
        "short-frame" => Fault::ShortFrame,
        "oversize-length" => Fault::OversizeLength,
        "error-frame" => Fault::ErrorFrame,
        "die" => Fault::Die,
        _ => return Err(format!("no such fault: {name}")),
    })
}

struct ControlLine<'a>(&'a UnixStream);

impl Line for ControlLine<'_> {
    /// Wanted until the other end hangs up.
    fn keepalive(&mut self, _status: u8) -> bool {
        let peeked = recv(self.0, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        !matches!(peeked, Ok((_, 0)))
    }
}

/// How long a client waits for an answer before it takes the key for stuck.
pub const PATIENCE: Duration = Duration::from_secs(60);
