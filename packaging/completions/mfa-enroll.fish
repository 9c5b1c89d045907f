# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_mfa_enroll_global_optspecs
    string join \n config= h/help V/version
end

function __fish_mfa_enroll_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_mfa_enroll_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_mfa_enroll_using_subcommand
    set -l cmd (__fish_mfa_enroll_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c mfa-enroll -n "__fish_mfa_enroll_needs_command" -l config -d 'Use this configuration file (root only)' -r -F
complete -c mfa-enroll -n "__fish_mfa_enroll_needs_command" -s h -l help -d 'Print help'
complete -c mfa-enroll -n "__fish_mfa_enroll_needs_command" -s V -l version -d 'Print version'
complete -c mfa-enroll -n "__fish_mfa_enroll_needs_command" -f -a "totp" -d 'Bind an authenticator app by a QR code and two codes in a row'
complete -c mfa-enroll -n "__fish_mfa_enroll_needs_command" -f -a "u2f" -d 'Bind a security key, the first one or one more, by a touch'
complete -c mfa-enroll -n "__fish_mfa_enroll_needs_command" -f -a "confirm" -d 'Bind the pending device of a user by two consecutive codes'
complete -c mfa-enroll -n "__fish_mfa_enroll_needs_command" -f -a "cancel" -d 'Drop the pending device of a user, and void an invitation'
complete -c mfa-enroll -n "__fish_mfa_enroll_needs_command" -f -a "replace" -d 'Bind another device, in place of the one that is bound'
complete -c mfa-enroll -n "__fish_mfa_enroll_needs_command" -f -a "disable" -d 'Disable the binding and destroy its key'
complete -c mfa-enroll -n "__fish_mfa_enroll_needs_command" -f -a "recovery-codes" -d 'Make new recovery codes in place of the old ones'
complete -c mfa-enroll -n "__fish_mfa_enroll_needs_command" -f -a "status" -d 'Say what is bound and required; never a key'
complete -c mfa-enroll -n "__fish_mfa_enroll_needs_command" -f -a "test" -d 'Ask me for the device as a login would, and say the outcome'
complete -c mfa-enroll -n "__fish_mfa_enroll_needs_command" -f -a "unlock" -d 'Forget the wrong codes of a user, and so end a lock'
complete -c mfa-enroll -n "__fish_mfa_enroll_needs_command" -f -a "bypass" -d 'Print a code that lets a user in once, without the device'
complete -c mfa-enroll -n "__fish_mfa_enroll_needs_command" -f -a "resync" -d 'Learn by two codes how far the clock of a device is off'
complete -c mfa-enroll -n "__fish_mfa_enroll_needs_command" -f -a "list" -d 'Show who has a device, or the members of a group'
complete -c mfa-enroll -n "__fish_mfa_enroll_needs_command" -f -a "doctor" -d 'Look for what on this host lets past or locks out'
complete -c mfa-enroll -n "__fish_mfa_enroll_needs_command" -f -a "tickets" -d 'Say which logins are remembered, or have them forgotten'
complete -c mfa-enroll -n "__fish_mfa_enroll_needs_command" -f -a "require" -d 'Require a device of a user or a group: writes a rule'
complete -c mfa-enroll -n "__fish_mfa_enroll_needs_command" -f -a "unrequire" -d 'Remove such a rule again'
complete -c mfa-enroll -n "__fish_mfa_enroll_needs_command" -f -a "invite" -d 'Print a ticket by which a user may bind a device'
complete -c mfa-enroll -n "__fish_mfa_enroll_needs_command" -f -a "rename" -d 'Make the device of a renamed account follow its new name'
complete -c mfa-enroll -n "__fish_mfa_enroll_needs_command" -f -a "import" -d 'Take over the security keys that another program knows'
complete -c mfa-enroll -n "__fish_mfa_enroll_needs_command" -f -a "policy" -d 'Look into the policy'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand totp" -l user -d 'Whose device it will be; root has to say [default: yours]' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand totp" -l label -d 'What to call the device' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand totp" -l qr-svg -d 'Also write the QR code to a new file for your eyes only' -r -F
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand totp" -l config -d 'Use this configuration file (root only)' -r -F
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand totp" -l ascii -d 'Draw the QR code with plain characters'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand totp" -l invert -d 'Draw the QR code without colours, for a light terminal'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand totp" -l key-only -d 'Draw no QR code'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand totp" -l json -d 'Ask nothing: make a pending device and print it as JSON with "user", "secret", "uri" and "expires", a time like "2026-11-21T22:40:00Z"; confirm binds it, cancel drops it'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand totp" -l invitation -d 'Prove yourself by the ticket of an invitation'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand totp" -s h -l help -d 'Print help'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand u2f" -l user -d 'Whose key it will be; root has to say [default: yours]' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand u2f" -l label -d 'What to call the key' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand u2f" -l ssh-key -d 'Bind the key by this public key of ssh\'s, as in ~/.ssh/id_ed25519_sk.pub, and by your ssh agent: for a key that is plugged in elsewhere' -r -F
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand u2f" -l config -d 'Use this configuration file (root only)' -r -F
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand u2f" -l invitation -d 'Prove yourself by the ticket of an invitation'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand u2f" -s h -l help -d 'Print help'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand confirm" -l user -d 'Whose device it is' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand confirm" -l config -d 'Use this configuration file (root only)' -r -F
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand confirm" -s h -l help -d 'Print help'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand cancel" -l user -d 'Whose device it is' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand cancel" -l config -d 'Use this configuration file (root only)' -r -F
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand cancel" -s h -l help -d 'Print help'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand replace; and not __fish_seen_subcommand_from totp u2f" -l config -d 'Use this configuration file (root only)' -r -F
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand replace; and not __fish_seen_subcommand_from totp u2f" -s h -l help -d 'Print help'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand replace; and not __fish_seen_subcommand_from totp u2f" -f -a "totp" -d 'By an authenticator app; the old device works until then'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand replace; and not __fish_seen_subcommand_from totp u2f" -f -a "u2f" -d 'By a security key; what is bound works until then'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand replace; and __fish_seen_subcommand_from totp" -l user -d 'Whose device it will be; root has to say [default: yours]' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand replace; and __fish_seen_subcommand_from totp" -l label -d 'What to call the device' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand replace; and __fish_seen_subcommand_from totp" -l qr-svg -d 'Also write the QR code to a new file for your eyes only' -r -F
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand replace; and __fish_seen_subcommand_from totp" -l config -d 'Use this configuration file (root only)' -r -F
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand replace; and __fish_seen_subcommand_from totp" -l ascii -d 'Draw the QR code with plain characters'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand replace; and __fish_seen_subcommand_from totp" -l invert -d 'Draw the QR code without colours, for a light terminal'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand replace; and __fish_seen_subcommand_from totp" -l key-only -d 'Draw no QR code'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand replace; and __fish_seen_subcommand_from totp" -l json -d 'Ask nothing: make a pending device and print it as JSON with "user", "secret", "uri" and "expires", a time like "2026-11-21T22:40:00Z"; confirm binds it, cancel drops it'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand replace; and __fish_seen_subcommand_from totp" -s h -l help -d 'Print help'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand replace; and __fish_seen_subcommand_from u2f" -l user -d 'Whose key it will be; root has to say [default: yours]' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand replace; and __fish_seen_subcommand_from u2f" -l label -d 'What to call the key' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand replace; and __fish_seen_subcommand_from u2f" -l ssh-key -d 'Bind the key by this public key of ssh\'s, as in ~/.ssh/id_ed25519_sk.pub, and by your ssh agent: for a key that is plugged in elsewhere' -r -F
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand replace; and __fish_seen_subcommand_from u2f" -l config -d 'Use this configuration file (root only)' -r -F
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand replace; and __fish_seen_subcommand_from u2f" -s h -l help -d 'Print help'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand disable" -l user -d 'Whose device it is; root has to say [default: yours]' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand disable" -l device -d 'Only the device with this id (see status) [default: all]' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand disable" -l config -d 'Use this configuration file (root only)' -r -F
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand disable" -s h -l help -d 'Print help'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand recovery-codes" -l user -d 'Whose codes; root has to say [default: yours]' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand recovery-codes" -l config -d 'Use this configuration file (root only)' -r -F
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand recovery-codes" -l json -d 'Print them as JSON, with "user" and "recovery_codes"'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand recovery-codes" -s h -l help -d 'Print help'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand status" -l user -d 'Whose standing to tell [default: yours]' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand status" -l config -d 'Use this configuration file (root only)' -r -F
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand status" -l json -d 'Print one JSON object'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand status" -s h -l help -d 'Print help'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand test" -l service -d 'The service whose rules to go by' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand test" -l config -d 'Use this configuration file (root only)' -r -F
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand test" -s h -l help -d 'Print help'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand unlock" -l user -d 'Whose device it is' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand unlock" -l config -d 'Use this configuration file (root only)' -r -F
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand unlock" -s h -l help -d 'Print help'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand bypass" -l user -d 'Whom it lets in' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand bypass" -l for -d 'For so long, as in 90s, 10m or 8h; a week (168h) at most; 0 makes none, and voids the one there is' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand bypass" -l config -d 'Use this configuration file (root only)' -r -F
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand bypass" -s h -l help -d 'Print help'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand resync" -l user -d 'Whose device it is' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand resync" -l config -d 'Use this configuration file (root only)' -r -F
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand resync" -s h -l help -d 'Print help'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand list" -l group -d 'The members of this group, with a record or without' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand list" -l config -d 'Use this configuration file (root only)' -r -F
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand list" -l missing -d 'Only who is required to have a device and has none'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand list" -l json -d 'Print a JSON array'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand list" -s h -l help -d 'Print help'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand doctor" -l ignore -d 'Do not tell what is found under this id any more, or, as ID:WHERE, only of what is found there' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand doctor" -l config -d 'Use this configuration file (root only)' -r -F
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand doctor" -l json -d 'Print a JSON array'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand tickets" -l user -d 'Whose logins they are [default: yours]' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand tickets" -l revoke -d 'Forget the one with this id, or "all"' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand tickets" -l config -d 'Use this configuration file (root only)' -r -F
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand tickets" -l json -d 'Print a JSON array'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand tickets" -s h -l help -d 'Print help'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand require" -l user -d 'This user' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand require" -l group -d 'The members of this group' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand require" -l service -d 'At this PAM service only [default: all]' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand require" -l kinds -d 'With these kinds only' -r -f -a "totp\t''
u2f\t''"
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand require" -l deadline -d 'From this day on, as in 2027-01-31' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand require" -l except -d 'Not of this member of the group; may be given again' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand require" -l try -d 'For so long only, as in 10m, unless it is confirmed' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand require" -l config -d 'Use this configuration file (root only)' -r -F
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand require" -l confirm -d 'Make what is on trial permanent'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand require" -s h -l help -d 'Print help'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand unrequire" -l user -d 'This user' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand unrequire" -l group -d 'The members of this group' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand unrequire" -l service -d 'At this PAM service only [default: all]' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand unrequire" -l config -d 'Use this configuration file (root only)' -r -F
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand unrequire" -s h -l help -d 'Print help'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand invite" -l user -d 'Whose device it is' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand invite" -l config -d 'Use this configuration file (root only)' -r -F
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand invite" -s h -l help -d 'Print help'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand rename" -l config -d 'Use this configuration file (root only)' -r -F
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand rename" -s h -l help -d 'Print help'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand import; and not __fish_seen_subcommand_from pam-u2f authorized-keys" -l config -d 'Use this configuration file (root only)' -r -F
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand import; and not __fish_seen_subcommand_from pam-u2f authorized-keys" -s h -l help -d 'Print help'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand import; and not __fish_seen_subcommand_from pam-u2f authorized-keys" -f -a "pam-u2f" -d 'From a mapping of pam_u2f: u2f_mappings, u2f_keys'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand import; and not __fish_seen_subcommand_from pam-u2f authorized-keys" -f -a "authorized-keys" -d 'From a file of sshd: those keys that are security keys'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand import; and __fish_seen_subcommand_from pam-u2f" -l user -d 'Whose keys only [default: those of all in the file]' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand import; and __fish_seen_subcommand_from pam-u2f" -l origin -d 'What pam_u2f was told as origin (of old keys: appid) [default: pam://HOSTNAME]' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand import; and __fish_seen_subcommand_from pam-u2f" -l config -d 'Use this configuration file (root only)' -r -F
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand import; and __fish_seen_subcommand_from pam-u2f" -s h -l help -d 'Print help'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand import; and __fish_seen_subcommand_from authorized-keys" -l user -d 'Whose keys they are' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand import; and __fish_seen_subcommand_from authorized-keys" -l config -d 'Use this configuration file (root only)' -r -F
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand import; and __fish_seen_subcommand_from authorized-keys" -s h -l help -d 'Print help'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand policy; and not __fish_seen_subcommand_from check explain" -l config -d 'Use this configuration file (root only)' -r -F
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand policy; and not __fish_seen_subcommand_from check explain" -s h -l help -d 'Print help'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand policy; and not __fish_seen_subcommand_from check explain" -f -a "check" -d 'Look for mistakes, with file, line and remedy'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand policy; and not __fish_seen_subcommand_from check explain" -f -a "explain" -d 'Say which rule decides about a login and what would happen'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand policy; and __fish_seen_subcommand_from check" -l config -d 'Use this configuration file (root only)' -r -F
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand policy; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand policy; and __fish_seen_subcommand_from explain" -l user -d 'Who logs in' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand policy; and __fish_seen_subcommand_from explain" -l service -d 'By which PAM service' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand policy; and __fish_seen_subcommand_from explain" -l rhost -d 'From this address, or "local"' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand policy; and __fish_seen_subcommand_from explain" -l ssh-key -d 'By an ssh key of this type alone' -r
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand policy; and __fish_seen_subcommand_from explain" -l config -d 'Use this configuration file (root only)' -r -F
complete -c mfa-enroll -n "__fish_mfa_enroll_using_subcommand policy; and __fish_seen_subcommand_from explain" -s h -l help -d 'Print help'
