//! `trust::time`: what an authority answers is read in one way or not at all, and proves nothing without a root.

use domain::Digest;
use trust::time::{Token, asked, granted, response, token_in};

/// [`Token::parse`], in an answer or bare: nobody vouches for it, whatever it says.
pub fn time_token(data: &[u8]) -> bool {
    let Ok(bytes) = token_in(data) else {
        return false;
    };
    let Ok(token) = Token::parse(&bytes) else {
        return true;
    };
    let wanted = Digest::of(b"what nobody stamped");
    assert!(token.answers(&wanted, None).is_err(), "over other bytes");
    assert!(token.verify(&wanted, None, &[]).is_err(), "without a root");
    let imprint: Result<[u8; 32], _> = token.stated().imprint.as_slice().try_into();
    if let Ok(imprint) = imprint {
        let verdict = token.verify(&Digest::from_bytes(imprint), None, &[]);
        assert!(verdict.is_err(), "believed without a root");
    }
    assert_eq!(response(&granted(&bytes)).as_ref(), Ok(&bytes));
    true
}

/// [`asked`]: what was asked for is asked for again in the same bytes.
pub fn time_request(data: &[u8]) -> bool {
    let Some((digest, nonce)) = asked(data) else {
        return false;
    };
    let again = trust::time::request(&digest, nonce.unwrap_or_default());
    let read = asked(&again).map(|(digest, _)| digest);
    assert_eq!(read, Some(digest));
    true
}

pub(crate) mod seeds {
    use super::{Digest, granted};

    fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let value = parts.concat();
        let length = match u8::try_from(value.len()) {
            Ok(length) if length < 128 => vec![length],
            Ok(length) => vec![0x81, length],
            Err(_) => [
                vec![0x82],
                u16::try_from(value.len())
                    .unwrap_or(0)
                    .to_be_bytes()
                    .to_vec(),
            ]
            .concat(),
        };
        [vec![tag], length, value].concat()
    }

    const SHA_256: &[u8] = &[6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
    const RSA_SHA_256: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 0x0b];
    const SIGNED_DATA: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
    const TST_INFO: &[u8] = &[6, 11, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 0x10, 1, 4];
    const CONTENT_TYPE: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 3];
    const MESSAGE_DIGEST: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 4];
    const SIGNING_CERTIFICATE_V2: &[u8] = &[
        6, 11, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 0x10, 2, 0x2f,
    ];

    /// A token as an authority makes it, with a signature of nobody.
    fn token() -> Vec<u8> {
        let digest = Digest::of(b"head");
        let algorithm = tlv(0x30, &[SHA_256]);
        let imprint = tlv(0x30, &[&algorithm, &tlv(4, &[digest.as_bytes()])]);
        let accuracy = tlv(0x30, &[&[2, 1, 1], &[0x80, 2, 1, 0xf4]]);
        let time = tlv(0x18, &[b"20261122073104.25Z"]);
        let info = tlv(
            0x30,
            &[
                &[2, 1, 1],
                &[6, 3, 42, 3, 4],
                &imprint,
                &[2, 1, 7],
                &time,
                &accuracy,
                &[2, 8, 1, 2, 3, 4, 5, 6, 7, 8],
            ],
        );
        let content = tlv(0x30, &[TST_INFO, &tlv(0xa0, &[&tlv(4, &[&info])])]);
        let certificate = tlv(0x30, &[&tlv(0x30, &[&tlv(0x30, &[&tlv(4, &[&[9; 32]])])])]);
        let attributes = [
            tlv(0x30, &[CONTENT_TYPE, &tlv(0x31, &[TST_INFO])]),
            tlv(
                0x30,
                &[
                    MESSAGE_DIGEST,
                    &tlv(0x31, &[&tlv(4, &[Digest::of(&info).as_bytes()])]),
                ],
            ),
            tlv(0x30, &[SIGNING_CERTIFICATE_V2, &tlv(0x31, &[&certificate])]),
        ];
        let signer = tlv(
            0x30,
            &[
                &[2, 1, 1],
                &tlv(0x30, &[&[0x30, 0], &[2, 1, 5]]),
                &algorithm,
                &tlv(0xa0, &[&attributes.concat()]),
                &tlv(0x30, &[RSA_SHA_256, &[5, 0]]),
                &tlv(4, &[&[5; 64]]),
            ],
        );
        let data = tlv(
            0x30,
            &[
                &[2, 1, 3],
                &tlv(0x31, &[&algorithm]),
                &content,
                &tlv(0xa0, &[&[0x30, 0]]),
                &tlv(0x31, &[&signer]),
            ],
        );
        tlv(0x30, &[SIGNED_DATA, &tlv(0xa0, &[&data])])
    }

    pub(crate) fn time_tokens() -> Vec<Vec<u8>> {
        let refused = tlv(
            0x30,
            &[&tlv(
                0x30,
                &[&[2, 1, 2], &tlv(0x30, &[&tlv(0x0c, &[b"no"])])],
            )],
        );
        vec![token(), granted(&token()), refused]
    }

    pub(crate) fn time_requests() -> Vec<Vec<u8>> {
        let digest = Digest::of(b"head");
        let query = |nonce| trust::time::request(&digest, nonce);
        vec![query([0x80; 8]), query([0; 8])]
    }

    pub(crate) const DER: &[&[u8]] = &[
        SHA_256,
        RSA_SHA_256,
        SIGNED_DATA,
        TST_INFO,
        CONTENT_TYPE,
        MESSAGE_DIGEST,
        SIGNING_CERTIFICATE_V2,
        b"\x30\x80",
        b"\x30\x84\xff\xff\xff\xff",
        b"\x18\x0f20261122073104Z",
        b"\x02\x01\x00",
    ];

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_seed_is_a_token() {
            assert!(trust::time::Token::parse(&token()).is_ok());
        }
    }
}
