//! The virtual security key is one to the kernel, to udev and to libfido2: what the scenarios of the product stand on.
#![allow(missing_docs)]

use vm::Machine;

#[test]
fn a_key_is_there_as_long_as_it_is_plugged_in() {
    let machine = Machine::shipped();
    assert_eq!(machine.root("fido2-token -L"), "");

    let mut key = machine.plug_in("");
    // The usage page of FIDO, 0xf1d0, is how anybody tells a security key from a mouse.
    let descriptor = machine.root(&format!(
        "od -An -tx1 -N5 /sys/class/hidraw/{}/device/report_descriptor",
        key.node.trim_start_matches("/dev/")
    ));
    assert_eq!(descriptor.trim(), "06 d0 f1 09 01");
    let properties = machine.root(&format!("udevadm info --query=property {}", key.node));
    for property in ["ID_FIDO_TOKEN=1", "ID_SECURITY_TOKEN=1"] {
        assert!(properties.lines().any(|line| line == property), "{properties}");
    }
    let tags = properties.lines().find(|line| line.starts_with("CURRENT_TAGS=")).unwrap_or_default();
    assert!(tags.contains(":uaccess:"), "whoever sits there may use it: {properties}");
    assert!(machine.root("fido2-token -L").starts_with(&format!("{}: ", key.node)));

    key.unplug();
    assert_eq!(machine.root("fido2-token -L"), "");
    key.plug();
    assert!(machine.root("fido2-token -L").starts_with(&format!("{}: ", key.node)));

    let another = machine.plug_in("--seed another --product 0x0120");
    assert_ne!(key.node, another.node);
    assert_eq!(machine.root("fido2-token -L").lines().count(), 2);
    drop(key);
    assert!(machine.root("fido2-token -L").starts_with(&format!("{}: ", another.node)));
}

/// With tools that know nothing of us.
#[test]
fn a_key_signs_for_libfido2_when_it_is_touched() {
    let machine = Machine::shipped();
    let key = machine.plug_in("");
    key.say("touch wait");
    let random = "head -c 32 /dev/urandom | base64";
    machine.root("mkdir /root/fido; mkfifo /root/fido/done");
    // In the background, as a login would wait.
    let start = |command: &str| machine.root(&format!("cd /root/fido; (set +e; {command}; echo $? >done) >log 2>&1 &"));
    let status = || machine.root("read -r status </root/fido/done; echo $status; cat /root/fido/log");

    machine.root(&format!("cd /root/fido; {{ {random}; echo pam://web1; echo anna; {random}; }} >make"));
    start(&format!("fido2-cred -M -i make {} | fido2-cred -V -o bound", key.node));
    key.say("await touch");
    key.say("touch");
    assert_eq!(status(), "0\n");

    machine.root(&format!(
        "cd /root/fido; head -1 bound >id; tail -n +2 bound >public; {{ {random}; echo pam://web1; cat id; }} >ask"
    ));
    start(&format!("fido2-assert -G -i ask {} >signed && fido2-assert -V -i signed public es256", key.node));
    key.say("await touch");
    key.say("touch");
    assert_eq!(status(), "0\n");

    // Without a touch there is nothing.
    key.say("touch deny");
    start(&format!("fido2-assert -G -i ask {}", key.node));
    assert_eq!(status(), "1\nfido2-assert: fido_dev_get_assert: FIDO_ERR_OPERATION_DENIED\n");
}
