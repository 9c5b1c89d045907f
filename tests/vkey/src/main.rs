//! `vkey`: see the library.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

use std::io::{Read, Write, stdin, stdout};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::exit;
use std::sync::Arc;
use std::{fs, thread};

use vkey::device::{Device, Settings};
use vkey::transport::{self, Transport};
use vkey::{USAGE, control, unhex};

fn main() {
    // A key that is half gone would look like one that hangs.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        exit(101);
    }));

    let mut settings = Settings {
        seed: "vkey".into(),
        aaguid: *b"virtual sec. key",
        u2f: true,
        fido2: true,
        ctap20: false,
        uv: false,
        uv_not_required: false,
        always_uv: false,
        eddsa_only: false,
        odd_attestation: false,
        keeps_channels: false,
    };
    let (mut link, mut uhid, mut socket, mut pin, mut until_eof) = (None, false, None, None, false);
    let (mut vendor, mut product) = (0x1050, 0x0407);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| usage());
        let number = |text: String| u32::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or_else(|_| usage());
        match arg.as_str() {
            "--pty" => link = Some(PathBuf::from(value())),
            "--uhid" => uhid = true,
            "--vendor" => vendor = number(value()),
            "--product" => product = number(value()),
            "--control" => socket = Some(PathBuf::from(value())),
            "--seed" => settings.seed = value(),
            "--aaguid" => {
                let aaguid = unhex(&value().replace('-', "")).and_then(|bytes| bytes.try_into().ok());
                settings.aaguid = aaguid.unwrap_or_else(|| usage());
            }
            "--pin" => pin = Some(value()),
            "--u2f-only" => settings.fido2 = false,
            "--fido2-only" => settings.u2f = false,
            "--ctap20" => settings.ctap20 = true,
            "--uv" => settings.uv = true,
            "--make-cred-uv-not-required" => settings.uv_not_required = true,
            "--always-uv" => settings.always_uv = true,
            "--eddsa-only" => settings.eddsa_only = true,
            "--odd-attestation" => settings.odd_attestation = true,
            "--keeps-channels" => settings.keeps_channels = true,
            "--until-eof" => until_eof = true,
            _ => usage(),
        }
    }
    let transport = match (link, uhid) {
        (Some(link), false) => Some(Transport::Pty(link)),
        (None, true) => Some(Transport::Uhid { vendor, product }),
        (None, false) if socket.is_some() => None,
        _ => usage(),
    };

    let device = Arc::new(Device::new(settings, pin));
    if let Some(path) = socket {
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let device = device.clone();
        thread::spawn(move || control::serve(&device, listener));
    }
    if let Some(transport) = transport {
        let plugged = device.clone();
        thread::spawn(move || transport::run(&plugged, &transport));
        device.until(|state| state.present);
    }
    println!("ready");
    stdout().flush().unwrap();
    if until_eof {
        let _ = stdin().read_to_end(&mut Vec::new());
        device.plug(false);
        device.until(|state| !state.present);
        return;
    }
    loop {
        thread::park();
    }
}

fn usage() -> ! {
    eprint!("{USAGE}");
    exit(2);
}
