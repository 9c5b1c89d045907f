//! Security keys with the package as it is installed: its service, real device nodes, real terminals.
#![allow(missing_docs, clippy::expect_used)]

use vm::{Key, Machine};

const PASSWORD: &str = "Geheim-9!";
const PIN: &str = "PIN of the key (8 tries are left): ";
const TOUCH: &str = "Touch your security key.";
const NOT_HERE: &str = "Your security key cannot be asked from here.";
const RECOVERY: &str = "Verification code (a recovery code): ";
const WRITTEN_DOWN: &str = "Type ok when you have written them down: ";

/// Touches the key once, when it blinks.
fn touch(key: &Key<'_>) {
    key.say("await touch");
    key.say("touch");
}

fn user(machine: &Machine, name: &str) {
    machine.user(name, PASSWORD);
    machine.root(&format!("adduser --quiet {name} sudo 2>/dev/null || usermod --append --groups sudo {name}"));
}

/// Puts this into force. A file that was changed in the last two seconds may be half written and is not believed yet.
fn policy(machine: &Machine, text: &str) {
    machine.write("/etc/mfa/mfa.toml.new", text);
    machine.root("touch -d @1700000000 /etc/mfa/mfa.toml.new; mv /etc/mfa/mfa.toml.new /etc/mfa/mfa.toml");
}

/// How often a key was asked for a touch.
fn asked(key: &Key<'_>) -> String {
    let count = key.say("count");
    count.split_whitespace().find(|word| word.starts_with("touches=")).expect("touches=").to_owned()
}

/// Root binds the key of a user; gives some recovery codes.
fn bound_by_root(machine: &Machine, key: &Key<'_>, name: &str) -> Vec<String> {
    key.say("touch auto");
    machine.root(&format!("echo ok | mfa-enroll u2f --user {name}"));
    key.say("touch wait");
    let codes = machine.root(&format!("mfa-enroll recovery-codes --user {name} --json"));
    let codes: serde_json::Value = serde_json::from_str(&codes).expect("JSON");
    let codes = codes["recovery_codes"].as_array().expect("codes").iter();
    codes.map(|code| code.as_str().expect("a code").to_owned()).collect()
}

#[test]
fn at_the_screen_the_owner_binds_a_key_and_touches_it_from_then_on() {
    let machine = Machine::shipped();
    // A host on which there never was a device of this class: the service may use it all the same.
    machine.root("systemctl stop mfa-helper.service; modprobe -r uhid; modprobe -r hid; ! grep hidraw /proc/devices");
    machine.root("systemctl start mfa-helper.service; modprobe uhid");
    user(&machine, "dora");
    let key = machine.plug_in("");
    key.say("touch wait");
    let screen = machine.screen();

    screen.log_in("dora", PASSWORD);
    screen.wait_for_prompt("dora@web1:~$ ");
    screen.type_line("mfa-enroll u2f --label blue");
    screen.wait_for_prompt("Password: ");
    screen.type_line(PASSWORD);
    screen.wait_for(TOUCH);
    touch(&key);
    screen.wait_for_prompt(WRITTEN_DOWN);
    screen.type_line("ok");
    screen.wait_for("The security key of dora is bound. From the next login on it is asked.");
    screen.wait_for_prompt("dora@web1:~$ ");
    screen.type_line("clear; mfa-enroll status");
    screen.wait_for("u2f (security key)");
    let status = screen.wait_for_prompt("dora@web1:~$ ");
    assert!(status.contains("blue") && status.contains("10 left"), "{status}");
    screen.type_line("clear; mfa-enroll test");
    screen.wait_for(TOUCH);
    touch(&key);
    screen.wait_for("That is right: login would let you in.");
    screen.wait_for_prompt("dora@web1:~$ ");
    screen.type_line("exit");

    screen.log_in("dora", PASSWORD);
    screen.wait_for(TOUCH);
    touch(&key);
    screen.wait_for_prompt("dora@web1:~$ ");
    for (command, question) in
        [("sudo id -un", "[sudo] password for dora: "), ("su dora -c 'echo $((0x7e57))'", "Password: ")]
    {
        screen.type_line(&format!("clear; {command}"));
        screen.wait_for_prompt(question);
        screen.type_line(PASSWORD);
        screen.wait_for(TOUCH);
        touch(&key);
        let shown = screen.wait_for_prompt("dora@web1:~$ ");
        assert!(shown.contains("\nroot\n") || shown.contains("\n32343\n"), "{shown}");
    }
    assert_eq!(asked(&key), "touches=5");
}

#[test]
fn who_is_required_to_have_a_device_binds_a_key_inside_the_login() {
    let machine = Machine::shipped();
    user(&machine, "frida");
    policy(&machine, "[[rule]]\nname = \"all\"\nusers = [\"frida\"]\nrequire = \"mfa\"\n");
    let key = machine.plug_in("");
    key.say("touch wait");
    let screen = machine.screen();

    screen.log_in("frida", PASSWORD);
    let question = screen.wait_for_prompt("Type its name: ");
    assert!(question.contains("app  an authenticator app"), "{question}");
    assert!(question.contains("key  a security key that you plug in here"), "{question}");
    screen.type_line("key");
    screen.wait_for(TOUCH);
    touch(&key);
    screen.wait_for_prompt(WRITTEN_DOWN);
    screen.type_line("ok");
    screen.wait_for_prompt("frida@web1:~$ ");
    screen.type_line("exit");

    screen.log_in("frida", PASSWORD);
    screen.wait_for(TOUCH);
    touch(&key);
    screen.wait_for_prompt("frida@web1:~$ ");
}

#[test]
fn from_afar_no_key_is_asked_that_is_plugged_in_here() {
    let machine = Machine::shipped();
    user(&machine, "erna");
    let key = machine.plug_in("");
    let mut codes = bound_by_root(&machine, &key, "erna").into_iter();
    let mut code = || codes.next().expect("a recovery code");
    let before = asked(&key);
    let mut console = machine.console();

    let mut ssh = machine.ssh("erna");
    ssh.wait_for("Password: ");
    ssh.type_line(PASSWORD);
    ssh.wait_for(NOT_HERE);
    ssh.wait_for(RECOVERY);
    ssh.type_line(&code());
    ssh.wait_for("erna@web1:~$");
    ssh.type_line("sudo id -un");
    ssh.wait_for("[sudo] password for erna: ");
    ssh.type_line(PASSWORD);
    ssh.wait_for(NOT_HERE);
    ssh.wait_for(RECOVERY);
    ssh.type_line(&code());
    ssh.wait_for("\nroot");
    drop(ssh);

    // Whoever types at a serial line may sit anywhere.
    console.log_in("erna", PASSWORD);
    console.wait_for(NOT_HERE);
    console.wait_for(RECOVERY);
    console.type_line(&code());
    console.wait_for("erna@web1:~$");
    console.type_line("exit");
    assert_eq!(asked(&key), before);

    policy(&machine, "[u2f]\nconsoles = [\"ttyS0\"]\n");
    console.log_in("erna", PASSWORD);
    console.wait_for(TOUCH);
    touch(&key);
    console.wait_for("erna@web1:~$");
    console.type_line("sudo id -un");
    console.wait_for("[sudo] password for erna: ");
    console.type_line(PASSWORD);
    console.wait_for(TOUCH);
    touch(&key);
    console.wait_for("\nroot");
}

#[test]
fn what_goes_wrong_with_a_key_refuses_this_login_and_not_the_next() {
    const CONSOLE: &str = "[u2f]\nconsoles = [\"ttyS0\"]\n";
    let machine = Machine::shipped();
    user(&machine, "greta");
    policy(&machine, CONSOLE);
    let mut key = machine.plug_in("");
    let code = bound_by_root(&machine, &key, "greta").remove(0);
    let mut console = machine.console();

    console.log_in("greta", PASSWORD);
    console.wait_for(TOUCH);
    key.say("await touch");
    key.unplug();
    console.wait_for("The security key was pulled out.");
    console.wait_for("Login incorrect");

    key.plug();
    key.say("touch deny");
    console.log_in("greta", PASSWORD);
    console.wait_for("The security key has refused.");
    console.wait_for("Login incorrect");

    policy(&machine, &format!("{CONSOLE}timeout = \"5s\"\n"));
    key.say("touch wait");
    console.log_in("greta", PASSWORD);
    console.wait_for(TOUCH);
    console.wait_for("The security key was not touched in time.");
    console.wait_for("Login incorrect");

    // Who has lost the key has the codes.
    key.unplug();
    console.log_in("greta", PASSWORD);
    console.wait_for("Plug in your security key, and press Enter. Without it:");
    console.wait_for(RECOVERY);
    console.type_line("");
    console.wait_for("No security key was plugged in.");
    console.wait_for(RECOVERY);
    console.type_line(&code);
    console.wait_for("greta@web1:~$");
    console.type_line("exit");

    policy(&machine, CONSOLE);
    let stranger = machine.plug_in("--seed stranger --product 0x0120");
    console.log_in("greta", PASSWORD);
    console.wait_for("No key that is plugged in is bound to this account: plug in yours.");
    console.wait_for(RECOVERY);
    key.plug();
    console.type_line("");
    console.wait_for(TOUCH);
    touch(&key);
    console.wait_for("greta@web1:~$");
    assert_eq!(asked(&stranger), "touches=0");
}

#[test]
fn a_key_with_a_pin_asks_for_it_and_a_spare_of_another_kind_is_enough() {
    let machine = Machine::shipped();
    user(&machine, "hedi");
    policy(&machine, "[u2f]\nconsoles = [\"ttyS0\"]\n");
    let key = machine.plug_in("--pin 1234");
    key.say("touch wait");
    let mut console = machine.console();

    console.log_in("hedi", PASSWORD);
    console.wait_for("hedi@web1:~$");
    console.type_line("mfa-enroll u2f --label blue");
    console.wait_for("Password: ");
    console.type_line(PASSWORD);
    console.wait_for(PIN);
    console.type_line("1234");
    console.wait_for(TOUCH);
    touch(&key);
    console.wait_for(WRITTEN_DOWN);
    console.type_line("ok");
    console.wait_for("The security key of hedi is bound.");
    console.wait_for("hedi@web1:~$");
    console.type_line("exit");

    console.log_in("hedi", PASSWORD);
    console.wait_for(PIN);
    console.type_line("0000");
    console.wait_for("The PIN was wrong; 7 tries are left.");
    console.wait_for("Login incorrect");
    console.log_in("hedi", PASSWORD);
    console.wait_for("PIN of the key (7 tries are left): ");
    console.type_line("1234");
    console.wait_for(TOUCH);
    touch(&key);
    console.wait_for("hedi@web1:~$");
    assert!(!console.text().contains("1234"), "a PIN is not shown");

    // One more is bound after one that is bound was asked.
    console.type_line("mfa-enroll u2f --label spare");
    console.wait_for("Password: ");
    console.type_line(PASSWORD);
    console.wait_for(PIN);
    let spare = machine.plug_in("--u2f-only --seed spare --product 0x0120");
    spare.say("touch wait");
    console.type_line("1234");
    console.wait_for(TOUCH);
    touch(&key);
    console.wait_for(TOUCH);
    touch(&spare);
    console.wait_for("The security key is bound: any one of your 2 is enough.");
    console.type_line("mfa-enroll status");
    console.wait_for("blue");
    console.wait_for("spare");
    console.wait_for("hedi@web1:~$");
    console.type_line("exit");

    // Both are there: the touch says which.
    console.log_in("hedi", PASSWORD);
    console.wait_for(TOUCH);
    touch(&spare);
    console.wait_for("hedi@web1:~$");
}

/// Each program has a channel of its own, and the key serves one after the other.
#[test]
fn a_key_that_another_program_uses_is_waited_for() {
    let machine = Machine::shipped();
    user(&machine, "jule");
    policy(&machine, "[u2f]\nconsoles = [\"ttyS0\"]\n");
    let key = machine.plug_in("--keeps-channels");
    bound_by_root(&machine, &key, "jule");
    let random = "head -c 32 /dev/urandom | base64";
    machine.root(&format!(
        "cd /root; {{ {random}; echo pam://other; echo other; {random}; }} >make
         (fido2-cred -M -i make {} >made; echo $? >status) >log 2>&1 &",
        key.node
    ));
    key.say("await touch");

    let mut console = machine.console();
    console.log_in("jule", PASSWORD);
    console.wait_for("Your security key is in use by another program: waiting for it.");
    // That of the other program.
    key.say("touch");
    console.wait_for(TOUCH);
    touch(&key);
    console.wait_for("jule@web1:~$");
    assert_eq!(machine.root("cat /root/status"), "0\n", "the other was served too");
}

/// OpenSSH uses the key by itself; what it has seen of it counts, and so does what its agent has it sign.
#[test]
fn an_ssh_key_on_it_opens_ssh_and_sudo_over_ssh() {
    let machine = Machine::shipped();
    user(&machine, "ida");
    let key = machine.plug_in("");
    key.say("touch wait");
    let screen = machine.screen();
    screen.log_in("ida", PASSWORD);
    screen.wait_for_prompt("ida@web1:~$ ");
    // Who sits at the seat may use its devices.
    screen.type_line("mkdir -m 0700 .ssh; ssh-keygen -t ed25519-sk -N '' -f .ssh/id_ed25519_sk");
    screen.wait_for("You may need to touch your authenticator");
    touch(&key);
    screen.wait_for_prompt("ida@web1:~$ ");
    screen.type_line("cp .ssh/id_ed25519_sk.pub .ssh/authorized_keys; eval $(ssh-agent); ssh-add");
    screen.wait_for("Identity added");
    screen.type_line("clear; mfa-enroll u2f --ssh-key .ssh/id_ed25519_sk.pub");
    screen.wait_for_prompt("Password: ");
    screen.type_line(PASSWORD);
    screen.wait_for(TOUCH);
    touch(&key);
    screen.wait_for_prompt(WRITTEN_DOWN);
    screen.type_line("ok");
    screen.wait_for("The security key of ida is bound.");

    // Without this line a file of the user's own could waive the touch.
    machine.root("echo PubkeyAuthOptions touch-required >/etc/ssh/sshd_config.d/20-touch.conf; systemctl reload ssh");
    policy(
        &machine,
        "[[rule]]\nname = \"keys\"\nusers = [\"ida\"]\nservices = [\"sshd\"]\nrequire = \"mfa\"\nsk_key = \"counts\"\n",
    );
    screen.type_line("clear; ssh -A -o StrictHostKeyChecking=no localhost");
    touch(&key);
    screen.wait_for_prompt("(ida@localhost) Password: ");
    screen.type_line(PASSWORD);
    screen.wait_for("Last login: ");
    screen.wait_for_prompt("ida@web1:~$ ");
    screen.type_line("clear; sudo id -un");
    screen.wait_for_prompt("[sudo] password for ida: ");
    screen.type_line(PASSWORD);
    screen.wait_for(TOUCH);
    touch(&key);
    screen.wait_for("\nroot\n");
    assert_eq!(asked(&key), "touches=4");
}

/// pam_u2f and we, by one and the same key.
#[test]
fn a_mapping_of_pam_u2f_is_taken_over_and_stays_good_for_pam_u2f() {
    let machine = Machine::shipped();
    user(&machine, "jutta");
    policy(&machine, "[u2f]\nconsoles = [\"ttyS0\"]\n");
    let key = machine.plug_in("");
    // As pamu2fcfg makes it.
    machine.root(&format!(
        "cd /root; random='head -c 32 /dev/urandom'
        {{ $random | base64; echo pam://web1; echo jutta; $random | base64; }} >make
        fido2-cred -M -i make {} >made; fido2-cred -V -i made -o bound
        point=$(sed '1d;/-----/d' bound | base64 -d | tail -c 64 | base64 -w0)
        echo \"jutta:$(head -1 bound),$point,es256,+presence\" >/etc/u2f_mappings",
        key.node
    ));
    let said = machine.root("mfa-enroll import pam-u2f /etc/u2f_mappings 2>&1");
    assert!(said.starts_with("jutta: 1 security key taken over."), "{said}");
    key.say("touch wait");
    machine.root(
        "sed -i '1i auth required pam_u2f.so authfile=/etc/u2f_mappings origin=pam://web1 appid=pam://web1 cue' \
         /etc/pam.d/sudo",
    );
    let mut console = machine.console();

    console.log_in("jutta", PASSWORD);
    console.wait_for(TOUCH);
    touch(&key);
    console.wait_for("jutta@web1:~$");
    console.type_line("sudo id -un");
    console.wait_for("Please touch the device.");
    touch(&key);
    console.wait_for("[sudo] password for jutta: ");
    console.type_line(PASSWORD);
    console.wait_for(TOUCH);
    touch(&key);
    console.wait_for("\nroot");
    assert_eq!(asked(&key), "touches=4");
}
