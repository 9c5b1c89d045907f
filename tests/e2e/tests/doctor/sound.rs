//! Hosts that were not set up by our README alone, and are sound: `doctor` says nothing of them, and their logins work.

use e2e::{Machine, oath::Codes};
use serde_json::Value;

use super::{bind, common, doctor, found};

/// A user of the machine who comes by ssh, with a key that `sshd` may take.
const KEY: &str = "
    install --directory --mode=700 --owner=visitor /home/visitor/.ssh
    runuser --user visitor -- ssh-keygen -q -t ed25519 -N '' -f /home/visitor/.ssh/id_ed25519";

fn trusts_the_key(machine: &Machine, user: &str) {
    machine.sh_ok(&format!(
        "home=$(getent passwd {user} | cut -d: -f6); install --directory --mode=700 --owner={user} $home/.ssh
         install --mode=600 --owner={user} /home/visitor/.ssh/id_ed25519.pub $home/.ssh/authorized_keys"
    ));
}

#[track_caller]
fn nothing_is_found(machine: &Machine) {
    let told = machine.sh("mfa-enroll doctor");
    assert_eq!((told.code, told.stdout.as_str(), told.stderr.as_str()), (0, "", "Nothing found.\n"), "{told}");
}

/// Comes by ssh, answers these questions, and becomes root there without one more.
fn comes_in_and_is_root(machine: &Machine, user: &str, answers: &[(&str, &str)]) {
    let ssh = format!("exec ssh {user}@localhost 'echo in as $(sudo -n id -u)'");
    let mut t = machine.terminal().user("visitor").run(&ssh);
    for (question, answer) in answers {
        t.wait_for(question);
        t.type_line(answer);
    }
    t.wait_for("in as 0");
    assert_eq!(t.exit_code(), 0);
    assert_eq!(t.text().matches(": ").count(), answers.len(), "{}", t.screen());
}

/// A cloud image: its administrators have keys and no password, and sudo asks them for none.
#[test]
fn nothing_is_found_in_a_cloud_image() {
    let machine = common::enabled(Machine::build().package().boot());
    machine.sh_ok(KEY);
    machine.sh_ok(
        "useradd --create-home --shell /bin/bash --groups sudo,adm --password '!' debian
         useradd --create-home --shell /bin/bash --groups sudo --password '*' ops
         usermod --password '*' visitor; usermod --password '*' root
         printf '%s\\n' '# Created by cloud-init v. 22.4.2 on Mon, 30 Nov 2026 10:00:00 +0000' '' \
             '# User rules for debian' 'debian ALL=(ALL) NOPASSWD:ALL' '' \
             '# User rules for ops' 'ops ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/90-cloud-init-users
         chmod 440 /etc/sudoers.d/90-cloud-init-users
         echo 'PasswordAuthentication no' >/etc/ssh/sshd_config.d/50-cloud-init.conf
         cd /usr/share/doc/libpam-mfa/examples
         cp 10-mfa-key.conf /etc/ssh/sshd_config.d/
         cp mfa-sshd-key /etc/pam.d/
         sed -i 's/^@include common-auth$/@include mfa-sshd-key/' /etc/pam.d/sshd
         sshd -t && systemctl reload ssh",
    );
    let codes: Vec<Codes> = ["debian", "ops"].iter().map(|user| bind(&machine, user)).collect();
    nothing_is_found(&machine);
    machine.sh_ok("mfa-enroll require --group sudo");
    nothing_is_found(&machine);
    for (user, codes) in ["debian", "ops"].into_iter().zip(&codes) {
        trusts_the_key(&machine, user);
        comes_in_and_is_root(&machine, user, &[(common::CODE, &codes.next)]);
    }
    let unasked = |place: &str| {
        let findings = doctor(&machine).1;
        let places: Vec<&Value> = findings.iter().filter(|one| one["id"] == "sudoers-nopasswd").collect();
        assert!(places.iter().any(|one| one["where"] == place), "{place}: {findings:#?}");
    };
    const DEBIAN: &str = "/etc/sudoers.d/90-cloud-init-users:4";
    // sudo would ask for something, or other users are in that file or in another one.
    for (set, restore, place) in [
        ("echo 'Defaults rootpw' >/etc/sudoers.d/x", "rm /etc/sudoers.d/x", DEBIAN),
        (
            "sed -i.old 's/@include common-auth/auth required pam_deny.so/' /etc/pam.d/sudo",
            "mv /etc/pam.d/sudo.old /etc/pam.d/sudo",
            DEBIAN,
        ),
        (
            "printf '%%devs, \\\n debian ALL=(ALL) NOPASSWD: ALL\n' >/etc/sudoers.d/x",
            "rm /etc/sudoers.d/x",
            "/etc/sudoers.d/x:1",
        ),
        (
            "echo '%devs ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.local; echo '@include /etc/sudoers.local' >/etc/sudoers.d/x",
            "rm /etc/sudoers.d/x",
            "/etc/sudoers",
        ),
    ] {
        machine.sh_ok(set);
        machine.sh_ok("cvtsudoers -f json /etc/sudoers");
        unasked(place);
        machine.sh_ok(restore);
        nothing_is_found(&machine);
    }
    // Without the rule, a key alone lets in where sshd has no other method after it.
    machine.sh_ok("mv /etc/ssh/sshd_config.d/10-mfa-key.conf /root; systemctl reload ssh");
    machine.sh_ok("mfa-enroll unrequire --group sudo");
    unasked(DEBIAN);
    machine.sh_ok("mv /root/10-mfa-key.conf /etc/ssh/sshd_config.d; systemctl reload ssh");
    machine.sh_ok("mfa-enroll require --group sudo");
    nothing_is_found(&machine);
    // With a password, sudo would have something to ask.
    machine.sh_ok("echo 'ops:Geheim-ops-9!' | chpasswd");
    let (code, findings) = doctor(&machine);
    assert_eq!((code, findings.len()), (6, 1), "{findings:#?}");
    let nopasswd = found(&findings, "sudoers-nopasswd").expect("it is found");
    assert_eq!(nopasswd["where"], "/etc/sudoers.d/90-cloud-init-users:7");
}

/// Some users and their groups come from a directory, which alone knows their passwords. What stands in for sssd is another
/// source of the name service, and a module under its name.
#[test]
fn nothing_is_found_where_a_directory_keeps_users_and_passwords() {
    let machine = Machine::build().debian_packages("libnss-extrausers,libpam-pwdfile").package();
    let machine = common::enabled(machine.sshd("PasswordAuthentication no").boot());
    machine.user("alice", "Geheim-alice-9!");
    machine.sh_ok(
        r"usermod --append --groups sudo alice
          printf '%s:*:%s:5000::/home/%s:/bin/bash\n' dora 5000 dora dave 5001 dave >/var/lib/extrausers/passwd
          printf 'dirstaff:*:5000:\ndiradmins:*:5001:dora\n' >/var/lib/extrausers/group
          sed -i '/^passwd:/s/files/files extrausers/; /^group:/s/files/files extrausers/' /etc/nsswitch.conf
          for user in dora dave; do install --directory --owner=$user --group=dirstaff /home/$user; done
          echo '%diradmins ALL=(ALL:ALL) ALL' >/etc/sudoers.d/directory
          for user in dora dave; do
              echo $user:$(perl -e 'print crypt($ARGV[0], q($6$salt$))' Geheim-$user-9!)
          done >/etc/directory; chmod 600 /etc/directory
          cd /usr/lib/*/security; ln -s pam_pwdfile.so pam_sss.so
          mkdir /opt/sss; cp pam_permit.so /opt/sss/pam_sss.so
          printf '%s\n' 'Name: SSS authentication' 'Default: yes' 'Priority: 128' 'Auth-Type: Primary' \
              'Auth:' ' [success=end default=ignore] pam_sss.so use_first_pass pwdfile=/etc/directory' \
              'Auth-Initial:' ' [success=end default=ignore] pam_sss.so forward_pass pwdfile=/etc/directory' \
              'Account-Type: Additional' 'Account:' ' sufficient pam_localuser.so' \
              ' [default=bad success=ok user_unknown=ignore] /opt/sss/pam_sss.so' >/usr/share/pam-configs/sss
          pam-auth-update --enable sss mfa; grep pam_sss /etc/pam.d/common-auth /etc/pam.d/common-account",
    );
    bind(&machine, "alice");
    let codes = bind(&machine, "dora");
    nothing_is_found(&machine);
    machine.sh_ok("mfa-enroll require --group diradmins; mfa-enroll require --group sudo");
    nothing_is_found(&machine);
    let explained = machine.sh_ok("mfa-enroll policy explain --user dora --service sshd");
    let outcome = "outcome     not known: a directory keeps the password; and it depends on /etc/pam.d/common-account";
    assert!(explained.contains(outcome), "{explained}");
    let mut t = machine.terminal().user("visitor").run("exec ssh -t dora@localhost sudo id -un");
    t.wait_for("(dora@localhost) Password: ");
    t.type_line("Geheim-dora-9!");
    t.wait_for(common::CODE);
    t.type_line(&codes.next);
    t.wait_for("[sudo] password for dora: ");
    t.type_line("Geheim-dora-9!");
    t.wait_for(common::CODE);
    drop(t);
    // What becomes of somebody without a device is not known here, so nobody is said to be locked out.
    machine.sh_ok("mfa-enroll require --group dirstaff");
    let missing = machine.sh_ok("mfa-enroll list --missing");
    assert_eq!(missing, "dave: required at every service; not known: a directory keeps the password\n");
    let (code, findings) = doctor(&machine);
    assert!(code == 6 && found(&findings, "required-without-device").is_some(), "{findings:#?}");
    let mut t = machine.terminal().user("visitor").run("exec ssh dave@localhost");
    t.wait_for("(dave@localhost) Password: ");
    t.type_line("Geheim-dave-9!");
    t.wait_for("First verification code");
}

/// A robot that configures the host is in the required group, and exempt: by key alone, and without a question in sudo.
#[test]
fn nothing_is_found_where_a_robot_is_exempt_and_it_works() {
    let machine = super::sound();
    machine.sh_ok(KEY);
    machine.sh_ok(
        "usermod --append --groups sudo alice
         useradd --create-home --shell /bin/bash --groups sudo --password '*' deploy
         usermod --append --groups sudo games
         useradd --system --create-home --shell /bin/bash --groups sudo --password '!' ansible
         useradd --create-home --shell /bin/bash --groups sudo puppet; echo puppet:Geheim-puppet-9! | chpasswd
         for robot in deploy ansible puppet; do echo \"$robot ALL=(ALL) NOPASSWD: ALL\" >/etc/sudoers.d/$robot; done",
    );
    machine.sh_ok("mfa-enroll require --group sudo");
    let (code, findings) = doctor(&machine);
    let robots = found(&findings, "locked-out").expect("it is found");
    assert_eq!((code, robots["names"].to_string().as_str()), (7, r#"["ansible","deploy"]"#), "{findings:#?}");
    let remedy = robots["remedy"].as_str().expect("a remedy");
    assert!(
        remedy.contains("a robot: mfa-enroll require --group sudo --except NAME, with the other options of that rule"),
        "{remedy}"
    );
    // Nobody logs in to it: it has no shell.
    machine.sh_ok("gpasswd --delete games sudo");
    machine.sh_ok("mfa-enroll require --group sudo --except deploy --except ansible --except puppet");
    nothing_is_found(&machine);
    for robot in ["deploy", "ansible"] {
        trusts_the_key(&machine, robot);
        comes_in_and_is_root(&machine, robot, &[]);
    }
    // With a device it is asked for it, but for what sudo asks nobody for.
    bind(&machine, "puppet");
    assert!(found(&doctor(&machine).1, "sudoers-nopasswd").is_some());
}
