// Checks the Ed25519 cosignatures of a tree head with the Go team's own code for signed notes (golang.org/x/mod/sumdb/note)
// and a verifier for C2SP cosignature/v1, which that package leaves to others. Nothing of Taintline's code is here.
//
//	cosigned HEAD LOG-VKEY QUORUM WITNESS-VKEY…
//
// HEAD is a file such as ledger/WRITER/cosigned, LOG-VKEY a file with the log's key; the rest are a number and keys as text.
// It prints "ORIGIN SIZE ROOT by NAME@TIME …" and ends with 0 when the log and so many of these witnesses signed it; else it
// says what is missing and ends with 1. Built without modules, from Debian's packages; see run.sh.
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// witness verifies cosignature/v1: eight bytes of time, then a signature over time and text.
type witness struct {
	name string
	hash uint32
	key  ed25519.PublicKey
	at   uint64
}

func (w *witness) Name() string    { return w.name }
func (w *witness) KeyHash() uint32 { return w.hash }

func (w *witness) Verify(text, signature []byte) bool {
	if len(signature) != 8+ed25519.SignatureSize {
		return false
	}
	w.at = binary.BigEndian.Uint64(signature)
	message := append([]byte(fmt.Sprintf("cosignature/v1\ntime %d\n", w.at)), text...)
	return ed25519.Verify(w.key, message, signature[8:])
}

func parseWitness(vkey string) (*witness, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return nil, errors.New("not a verifier key")
	}
	id, err := strconv.ParseUint(parts[1], 16, 32)
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil {
		return nil, err
	}
	if len(key) != 1+ed25519.PublicKeySize || key[0] != 4 {
		return nil, errors.New("not an Ed25519 cosigner's key")
	}
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), key...))
	if uint32(id) != binary.BigEndian.Uint32(sum[:]) {
		return nil, errors.New("the id is not this key's")
	}
	return &witness{name: parts[0], hash: uint32(id), key: key[1:]}, nil
}

func check(file, vkey, quorum string, keys []string) (string, error) {
	signed, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(vkey)
	if err != nil {
		return "", err
	}
	log, err := note.NewVerifier(strings.TrimSuffix(string(text), "\n"))
	if err != nil {
		return "", err
	}
	needed, err := strconv.Atoi(quorum)
	if err != nil {
		return "", err
	}
	verifiers := []note.Verifier{log}
	var witnesses []*witness
	for _, key := range keys {
		witness, err := parseWitness(key)
		if err != nil {
			return "", fmt.Errorf("%s: %w", key, err)
		}
		witnesses = append(witnesses, witness)
		verifiers = append(verifiers, witness)
	}
	opened, err := note.Open(signed, note.VerifierList(verifiers...))
	if err != nil {
		return "", err
	}
	by := make(map[uint32]bool)
	for _, signature := range opened.Sigs {
		by[signature.Hash] = true
	}
	if !by[log.KeyHash()] {
		return "", errors.New("the log did not sign it")
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != log.Name() {
		return "", errors.New("not a head of this log")
	}
	if _, err := tlog.ParseHash(lines[2]); err != nil {
		return "", err
	}
	var summary bytes.Buffer
	fmt.Fprintf(&summary, "%s %s %s by", lines[0], lines[1], lines[2])
	count := 0
	for _, witness := range witnesses {
		if by[witness.hash] {
			count++
			fmt.Fprintf(&summary, " %s@%d", witness.name, witness.at)
		}
	}
	if count < needed {
		return "", fmt.Errorf("%d of %d witnesses signed it", count, needed)
	}
	return summary.String(), nil
}

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: cosigned HEAD LOG-VKEY QUORUM WITNESS-VKEY...")
		os.Exit(2)
	}
	summary, err := check(os.Args[1], os.Args[2], os.Args[3], os.Args[4:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "cosigned: %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
	fmt.Println(summary)
}
