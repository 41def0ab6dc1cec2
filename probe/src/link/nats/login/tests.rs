//! Files of credentials, without a server.

use super::*;

#[test]
fn a_credentials_file_is_read_by_its_sections() {
    let creds = "-----BEGIN NATS USER JWT-----\nabc.def\n------END NATS USER JWT------\n\n\
                 ************************* IMPORTANT *************************\n\
                 -----BEGIN USER NKEY SEED-----\nSUAxyz\n------END USER NKEY SEED------\n";
    assert_eq!(creds_section(creds, "JWT"), Some("abc.def"));
    assert_eq!(creds_section(creds, "SEED"), Some("SUAxyz"));
    assert_eq!(creds_section("nothing", "SEED"), None);
}

#[test]
fn an_invalid_seed_is_not_quoted() {
    let error = key_pair("SUASECRETSECRET").err().unwrap();
    assert!(!error.contains("SECRET"), "{error}");
}
