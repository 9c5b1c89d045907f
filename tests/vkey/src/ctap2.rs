//! The commands of CTAP2 (Client to Authenticator Protocol 2.1 §6).

use crate::cbor::{self, Value, array};
use crate::credential::{EDDSA, ES256, PrivateKey};
use crate::device::{Device, Fault, Finger, Line, Stage, State, Token};
use crate::pin::{self, Protocol, Shared, new_secret, random, sha256};

pub const MAKE_CREDENTIAL: u8 = 0x01;
pub const GET_ASSERTION: u8 = 0x02;
pub const GET_INFO: u8 = 0x04;
pub const CLIENT_PIN: u8 = 0x06;
pub const RESET: u8 = 0x07;
pub const SELECTION: u8 = 0x0b;

const INVALID_COMMAND: u8 = 0x01;
const INVALID_PARAMETER: u8 = 0x02;
const INVALID_CBOR: u8 = 0x12;
const MISSING_PARAMETER: u8 = 0x14;
const CREDENTIAL_EXCLUDED: u8 = 0x19;
const UNSUPPORTED_ALGORITHM: u8 = 0x26;
pub const OPERATION_DENIED: u8 = 0x27;
const UNSUPPORTED_OPTION: u8 = 0x2b;
pub const KEEPALIVE_CANCEL: u8 = 0x2d;
pub const NO_CREDENTIALS: u8 = 0x2e;
const PIN_INVALID: u8 = 0x31;
const PIN_BLOCKED: u8 = 0x32;
const PIN_AUTH_INVALID: u8 = 0x33;
const PIN_AUTH_BLOCKED: u8 = 0x34;
const PIN_NOT_SET: u8 = 0x35;
const PUAT_REQUIRED: u8 = 0x36;
const PIN_POLICY_VIOLATION: u8 = 0x37;
const UV_BLOCKED: u8 = 0x3c;
const INVALID_SUBCOMMAND: u8 = 0x3e;
const UV_INVALID: u8 = 0x3f;

const UP: u8 = 0x01;
const UV: u8 = 0x04;
const AT: u8 = 0x40;
const ED: u8 = 0x80;

const MAY_MAKE: u8 = 0x01;
const MAY_ASSERT: u8 = 0x02;

type Answer = Result<Option<Value>, u8>;

/// The status and the CBOR of the answer.
pub fn run(device: &Device, stage: Stage, request: &[u8], line: &mut dyn Line) -> Vec<u8> {
    let answer = match request.split_first() {
        Some((command, rest)) => execute(device, stage, *command, rest, line),
        None => Err(INVALID_COMMAND),
    };
    match answer {
        Ok(Some(map)) => [vec![0], cbor::encode(&map)].concat(),
        Ok(None) => vec![0],
        Err(status) => vec![status],
    }
}

fn execute(device: &Device, stage: Stage, command: u8, rest: &[u8], line: &mut dyn Line) -> Answer {
    let request = if rest.is_empty() { Value::Null } else { cbor::decode(rest).ok_or(INVALID_CBOR)? };
    match command {
        GET_INFO => Ok(Some(info(device))),
        MAKE_CREDENTIAL => make_credential(device, stage, &request, line),
        GET_ASSERTION => get_assertion(device, stage, &request, line),
        CLIENT_PIN => client_pin(device, &request, line),
        SELECTION => device.touch(line).map(|()| None),
        RESET => {
            device.touch(line)?;
            let mut state = device.state();
            state.resets += 1;
            state.pin = None;
            state.retries = 8;
            state.token = None;
            Ok(None)
        }
        _ => Err(INVALID_COMMAND),
    }
}

/// An assertion that asks for no touch: the pre-flight of a client that has many credentials.
pub fn is_silent(request: &[u8]) -> bool {
    cbor::decode(request).is_some_and(|request| option(&request, 5, "up") == Some(false))
}

fn option(request: &Value, options: i32, name: &str) -> Option<bool> {
    cbor::boolean(cbor::get(request, options)?, name)
}

fn info(device: &Device) -> Value {
    let settings = &device.settings;
    let mut versions = vec!["FIDO_2_0"];
    if settings.u2f {
        versions.insert(0, "U2F_V2");
    }
    let mut options = vec![("rk", true.into()), ("up", true.into())];
    if settings.uv {
        options.push(("uv", true.into()));
    }
    // In the order of canonical CBOR.
    if settings.always_uv {
        options.push(("alwaysUv", true.into()));
    }
    options.push(("clientPin", device.state().pin.is_some().into()));
    if !settings.ctap20 {
        versions.push("FIDO_2_1");
        options.push(("pinUvAuthToken", true.into()));
        options.push(("makeCredUvNotRqd", settings.uv_not_required.into()));
    }
    let algorithms =
        algorithms(device).iter().map(|alg| cbor::map([("alg", (*alg).into()), ("type", "public-key".into())]));
    let mut info = vec![
        (1, array(versions)),
        (2, array(["credProtect"])),
        (3, Value::Bytes(settings.aaguid.to_vec())),
        (4, cbor::map(options)),
        (5, 7609.into()),
        (6, if settings.ctap20 { array([1]) } else { array([2, 1]) }),
    ];
    if !settings.ctap20 {
        info.extend([(7, 16.into()), (8, 64.into()), (9, array(["usb"])), (10, array(algorithms))]);
        if device.state().force_pin {
            info.push((12, true.into()));
        }
    }
    cbor::map(info)
}

fn algorithms(device: &Device) -> &'static [i64] {
    if device.settings.eddsa_only { &[EDDSA] } else { &[ES256, EDDSA] }
}

fn make_credential(device: &Device, stage: Stage, request: &Value, line: &mut dyn Line) -> Answer {
    let hash = cbor::bytes(request, 1).ok_or(MISSING_PARAMETER)?;
    let rp_id = cbor::get(request, 2).and_then(|rp| cbor::text(rp, "id")).ok_or(MISSING_PARAMETER)?;
    let offered = cbor::get(request, 4).and_then(Value::as_array).ok_or(MISSING_PARAMETER)?;
    let rp_hash = sha256(&[rp_id.as_bytes()]);
    let verified = verified(device, request, 8, 9, 7, hash, rp_id, MAY_MAKE, line)?;
    let algorithm = offered.iter().filter_map(|parameter| cbor::integer(parameter, "alg"));
    let algorithm = algorithm.into_iter().find(|alg| algorithms(device).contains(alg)).ok_or(UNSUPPORTED_ALGORITHM)?;
    if descriptors(request, 5)
        .any(|id| device.credential(&rp_hash, id).is_some_and(|found| visible(found.protect, verified)))
    {
        device.touch(line)?;
        return Err(CREDENTIAL_EXCLUDED);
    }
    device.touch(line)?;

    let protect = cbor::get(request, 6).and_then(|extensions| cbor::integer(extensions, "credProtect"));
    let level = protect.map_or(device.state().protect, |level| level as u8);
    let credential = device.new_credential(&rp_hash, algorithm, level);
    let mut rest = device.settings.aaguid.to_vec();
    rest.extend((credential.id.len() as u16).to_be_bytes());
    rest.extend(&credential.id);
    rest.extend(cbor::encode(&credential.key.cose()));
    let mut flags = UP | AT | if verified { UV } else { 0 };
    if let Some(level) = protect {
        flags |= ED;
        rest.extend(cbor::encode(&cbor::map([("credProtect", level.into())])));
    }
    let (auth_data, signature) = signed(device, stage, &credential.key, &rp_hash, flags, &rest, hash);
    let mut statement = vec![("alg", credential.key.algorithm().into()), ("sig", Value::Bytes(signature))];
    if device.settings.odd_attestation {
        statement.push(("x5c", array([Value::Bytes(b"no certificate".to_vec())])));
    }
    let statement = cbor::map(statement);
    Ok(Some(cbor::map([(1, "packed".into()), (2, Value::Bytes(auth_data)), (3, statement)])))
}

fn get_assertion(device: &Device, stage: Stage, request: &Value, line: &mut dyn Line) -> Answer {
    let rp_id = cbor::text(request, 1).ok_or(MISSING_PARAMETER)?;
    let hash = cbor::bytes(request, 2).ok_or(MISSING_PARAMETER)?;
    let rp_hash = sha256(&[rp_id.as_bytes()]);
    let verified = verified(device, request, 6, 7, 5, hash, rp_id, MAY_ASSERT, line)?;
    let credential = descriptors(request, 3)
        .filter_map(|id| device.credential(&rp_hash, id))
        .find(|credential| visible(credential.protect, verified))
        .ok_or(NO_CREDENTIALS)?;
    if device.settings.always_uv && stage == Stage::Touch && !verified {
        return Err(PUAT_REQUIRED);
    }
    let mut flags = if verified { UV } else { 0 };
    if stage == Stage::Touch {
        device.touch(line)?;
        flags |= UP;
    }
    let (auth_data, signature) = signed(device, stage, &credential.key, &rp_hash, flags, &[], hash);
    let descriptor = cbor::map([("id", Value::Bytes(credential.id)), ("type", "public-key".into())]);
    Ok(Some(cbor::map([(1, descriptor), (2, Value::Bytes(auth_data)), (3, Value::Bytes(signature))])))
}

/// credProtect level 3: without user verification the credential is not there.
fn visible(protect: u8, verified: bool) -> bool {
    protect < 3 || verified
}

fn descriptors(request: &Value, list: i32) -> impl Iterator<Item = &[u8]> {
    let list = cbor::get(request, list).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(|descriptor| cbor::bytes(descriptor, "id"))
}

/// The authenticator data and the signature over it and the hash of the client data.
fn signed(
    device: &Device,
    stage: Stage,
    key: &PrivateKey,
    rp_hash: &[u8; 32],
    mut flags: u8,
    rest: &[u8],
    hash: &[u8],
) -> (Vec<u8>, Vec<u8>) {
    let mut rp_hash = *rp_hash;
    match device.fault(stage) {
        Fault::WrongRpId => rp_hash[0] ^= 1,
        Fault::NoUp => flags &= !UP,
        Fault::NoUv => flags &= !UV,
        _ => {}
    }
    let auth_data = [&rp_hash, &[flags][..], &device.next_counter().to_be_bytes(), rest].concat();
    let signature = device.sign(stage, key, &[&auth_data, hash].concat());
    (auth_data, signature)
}

/// Whether the user is verified, by a token or by the key itself; refuses what may not be done without.
#[allow(clippy::too_many_arguments)] // the numbers of the same parameters in two commands
fn verified(
    device: &Device,
    request: &Value,
    parameter: i32,
    protocol: i32,
    options: i32,
    hash: &[u8],
    rp_id: &str,
    permission: u8,
    line: &mut dyn Line,
) -> Result<bool, u8> {
    let wants_uv = option(request, options, "uv") == Some(true);
    match cbor::bytes(request, parameter) {
        // A client that lets the person choose among keys by a touch.
        Some([]) => {
            device.touch(line)?;
            Err(if device.state().pin.is_some() { PIN_INVALID } else { PIN_NOT_SET })
        }
        Some(proof) => {
            let protocol = cbor::integer(request, protocol).ok_or(MISSING_PARAMETER)?;
            let protocol = Protocol::of(protocol).ok_or(INVALID_PARAMETER)?;
            let mut state = device.state();
            let token = state.token.as_mut().ok_or(PIN_AUTH_INVALID)?;
            let good = token.protocol == protocol
                && protocol.authenticate(&token.bytes, hash) == proof
                && token.permissions & permission != 0
                && token.rp_id.get_or_insert_with(|| rp_id.to_owned()) == rp_id;
            if good { Ok(token.verified) } else { Err(PIN_AUTH_INVALID) }
        }
        None if wants_uv && !device.settings.uv => Err(UNSUPPORTED_OPTION),
        None if wants_uv => finger(device, None).map(|()| true),
        None => {
            let protected = device.state().pin.is_some() || device.settings.uv;
            let required = permission == MAY_MAKE && protected && !device.settings.uv_not_required;
            if required { Err(PUAT_REQUIRED) } else { Ok(false) }
        }
    }
}

/// The fingerprint reader: the finger that verifies is the one that touches.
fn finger(device: &Device, touch: Option<&mut dyn Line>) -> Result<(), u8> {
    if let Some(line) = touch {
        device.touch(line)?;
    }
    match device.state().finger {
        Finger::Good => Ok(()),
        Finger::Bad => Err(UV_INVALID),
        Finger::Blocked => Err(UV_BLOCKED),
    }
}

fn client_pin(device: &Device, request: &Value, line: &mut dyn Line) -> Answer {
    let subcommand = cbor::integer(request, 2).ok_or(MISSING_PARAMETER)?;
    if subcommand == 0x01 {
        let state = device.state();
        return Ok(Some(cbor::map([(3, state.retries.into()), (4, (state.wrong_in_a_row >= 3).into())])));
    }
    if subcommand == 0x07 && device.settings.uv {
        let left = if device.state().finger == Finger::Blocked { 0 } else { 5 };
        return Ok(Some(cbor::map([(5, left.into())])));
    }
    let protocol = cbor::integer(request, 1).ok_or(MISSING_PARAMETER)?;
    let protocol = Protocol::of(protocol).ok_or(INVALID_PARAMETER)?;
    if protocol == Protocol::Two && device.settings.ctap20 {
        return Err(INVALID_PARAMETER);
    }
    if subcommand == 0x02 {
        let own = pin::to_cose(&device.state().agreement.public_key(), -25);
        return Ok(Some(cbor::map([(1, own)])));
    }
    let other = cbor::get(request, 3).and_then(pin::from_cose).ok_or(MISSING_PARAMETER)?;
    let shared = Shared::new(protocol, &device.state().agreement, &other);
    let permissions = cbor::integer(request, 9).map_or(MAY_MAKE | MAY_ASSERT, |given| given as u8);
    let rp_id = cbor::text(request, 10).map(str::to_owned);
    let token = Token { bytes: random(), protocol, permissions, rp_id, verified: true };
    match subcommand {
        0x03 => {
            let new = cbor::bytes(request, 5).ok_or(MISSING_PARAMETER)?;
            if device.state().pin.is_some() || Some(&*shared.authenticate(new)) != cbor::bytes(request, 4) {
                return Err(PIN_AUTH_INVALID);
            }
            set_pin(&mut device.state(), &shared, new)
        }
        0x04 => {
            let new = cbor::bytes(request, 5).ok_or(MISSING_PARAMETER)?;
            let old = cbor::bytes(request, 6).ok_or(MISSING_PARAMETER)?;
            let mut state = device.state();
            if Some(&*shared.authenticate(&[new, old].concat())) != cbor::bytes(request, 4) {
                return Err(PIN_AUTH_INVALID);
            }
            check_pin(&mut state, &shared, old)?;
            set_pin(&mut state, &shared, new)
        }
        0x05 | 0x09 => {
            let mut state = device.state();
            check_pin(&mut state, &shared, cbor::bytes(request, 6).ok_or(MISSING_PARAMETER)?)?;
            if state.force_pin {
                return Err(PIN_POLICY_VIOLATION);
            }
            Ok(Some(give(&mut state, &shared, token)))
        }
        0x06 if device.settings.uv && !device.settings.ctap20 => {
            finger(device, Some(line))?;
            Ok(Some(give(&mut device.state(), &shared, token)))
        }
        _ => Err(INVALID_SUBCOMMAND),
    }
}

fn give(state: &mut State, shared: &Shared, token: Token) -> Value {
    let answer = cbor::map([(2, Value::Bytes(shared.encrypt(&token.bytes)))]);
    state.token = Some(token);
    answer
}

fn set_pin(state: &mut State, shared: &Shared, new: &[u8]) -> Answer {
    let new = shared.decrypt(new).filter(|new| new.len() == 64).ok_or(INVALID_PARAMETER)?;
    let new = new.into_iter().take_while(|byte| *byte != 0).collect();
    let new = String::from_utf8(new).map_err(|_| PIN_POLICY_VIOLATION)?;
    if new.chars().count() < 4 || new.len() > 63 {
        return Err(PIN_POLICY_VIOLATION);
    }
    state.pin = Some(new);
    state.force_pin = false;
    state.retries = 8;
    state.wrong_in_a_row = 0;
    state.token = None;
    Ok(None)
}

fn check_pin(state: &mut State, shared: &Shared, hash: &[u8]) -> Result<(), u8> {
    let expected = pin::hash(state.pin.as_deref().ok_or(PIN_NOT_SET)?);
    if state.retries == 0 {
        return Err(PIN_BLOCKED);
    }
    if state.wrong_in_a_row >= 3 {
        return Err(PIN_AUTH_BLOCKED);
    }
    state.pins += 1;
    state.retries -= 1;
    if shared.decrypt(hash).as_deref() == Some(&expected) {
        state.retries = 8;
        state.wrong_in_a_row = 0;
        return Ok(());
    }
    state.wrong_in_a_row += 1;
    state.agreement = new_secret();
    Err(match state {
        State { retries: 0, .. } => PIN_BLOCKED,
        State { wrong_in_a_row: 3.., .. } => PIN_AUTH_BLOCKED,
        _ => PIN_INVALID,
    })
}
