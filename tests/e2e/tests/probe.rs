#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]
use e2e::Machine;

#[test]
fn probe() {
    for suite in ["bookworm", "trixie", "forky"] {
        let machine = Machine::build().suite(suite).sshd("PubkeyAuthOptions touch-required").boot();
        machine.write("/usr/local/sbin/probe", std::fs::read("/var/tmp/target-ssh/debug/probe").unwrap());
        let unit = std::fs::read_to_string("/var/tmp/wt-ssh/packaging/systemd/mfa-helper.service").unwrap();
        let unit = unit.replace("StandardInput=socket", "").replace("Requires=mfa-helper.socket", "");
        machine.write("/run/probe.service.in", unit);
        let said = machine.sh(r#"
            chmod 755 /usr/local/sbin/probe
            systemctl start ssh || true
            sshd -V 2>&1 | head -1; ssh -V 2>&1
            mkfifo /run/hold; (sleep 60 >/run/hold &) ; bash -c "exec 3<>/dev/tcp/127.0.0.1/22; head -n1 <&3; (sleep 30 <&3) >/dev/null 2>&1 &"
            pid=$(systemctl show -P MainPID ssh); child=$(cat /proc/$pid/task/$pid/children | cut -d' ' -f1)
            tr '\0' ' ' </proc/$pid/cmdline; echo; tr '\0' ' ' </proc/$child/cmdline; echo " child $child"; cat /proc/$child/comm
            sed "s,^ExecStart=.*,ExecStart=/usr/local/sbin/probe $child root 192.0.2.7,; s,Type=exec,Type=oneshot," /run/probe.service.in >/run/systemd/system/probe.service
            systemctl daemon-reload; systemctl start probe; systemctl status probe --no-pager | head -12; cat /var/lib/probe.out
            /usr/local/sbin/probe $child root 192.0.2.7; cat /var/lib/probe.out
        "#);
        println!("== {suite}\n{}\n{}", said.stdout, said.stderr);
    }
}
