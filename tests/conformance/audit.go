// Audits one log with the Go team's own code for signed notes and transparency logs (golang.org/x/mod/sumdb), as the
// checksum database of Go modules uses it. Nothing of Taintline's code is here, so that a shared mistake cannot hide.
//
//	audit LOG            LOG is a folder with checkpoint, vkey and tile/
//	audit proof FILE VKEY  FILE is a C2SP tlog-proof with the entry in its extra line, VKEY a file with the public key
//
// On success it prints "ORIGIN SIZE ROOT", of a proof "ORIGIN SIZE ROOT INDEX", and ends with 0. Whatever does not agree is said on standard error, and it ends
// with 1. It is built without modules, from Debian's packages; see run.sh.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Tiles of tlog-tiles have 2^8 hashes, always.
const height = 8

// The most proofs of each kind that are made; of longer logs the entries and sizes are taken at even distances.
const maxProofs = 2000

func main() {
	if len(os.Args) == 4 && os.Args[1] == "proof" {
		proved, err := checkProofFile(os.Args[2], os.Args[3])
		if err != nil {
			fmt.Fprintf(os.Stderr, "audit: %s: %v\n", os.Args[2], err)
			os.Exit(1)
		}
		fmt.Println(proved)
		return
	}
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: audit LOG | audit proof FILE VKEY")
		os.Exit(2)
	}
	head, err := audit(os.Args[1])
	if err != nil {
		fmt.Fprintf(os.Stderr, "audit: %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
	fmt.Println(head)
}

func audit(folder string) (string, error) {
	origin, tree, err := openHead(folder)
	if err != nil {
		return "", err
	}
	summary := fmt.Sprintf("%s %d %s", origin, tree.N, tree.Hash)
	if tree.N == 0 {
		if tree.Hash != sha256.Sum256(nil) {
			return "", errors.New("the root of no entries is another")
		}
		return summary, nil
	}
	stored, err := hashEntries(folder, tree.N)
	if err != nil {
		return "", err
	}
	root, err := tlog.TreeHash(tree.N, stored)
	if err != nil {
		return "", err
	}
	if root != tree.Hash {
		return "", fmt.Errorf("the entries have the root %s, the signed head says %s", root, tree.Hash)
	}
	if err := compareTiles(folder, tree.N, stored); err != nil {
		return "", err
	}
	if err := checkProofs(folder, tree, stored); err != nil {
		return "", err
	}
	return summary, nil
}

// checkProofFile checks that the entry in a tlog-proof is in the tree that the key signed.
func checkProofFile(file, vkey string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	front, signed, found := strings.Cut(string(data), "\n\n")
	lines := strings.Split(front, "\n")
	if !found || len(lines) < 3 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return "", errors.New("not a tlog-proof with an entry")
	}
	extra, isExtra := cutPrefix(lines[1], "extra ")
	number, isIndex := cutPrefix(lines[2], "index ")
	if !isExtra || !isIndex {
		return "", errors.New("no extra or no index line")
	}
	entry, err := base64.StdEncoding.DecodeString(extra)
	if err != nil {
		return "", err
	}
	index, err := strconv.ParseInt(number, 10, 64)
	if err != nil || strconv.FormatInt(index, 10) != number {
		return "", fmt.Errorf("%q is no index", number)
	}
	var proof tlog.RecordProof
	for _, line := range lines[3:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return "", err
		}
		proof = append(proof, hash)
	}
	key, err := os.ReadFile(vkey)
	if err != nil {
		return "", err
	}
	origin, tree, err := openSigned([]byte(signed), key)
	if err != nil {
		return "", err
	}
	if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entry)); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s %d %s %d", origin, tree.N, tree.Hash, index), nil
}

// openHead reads the head of a log and its key.
func openHead(folder string) (string, tlog.Tree, error) {
	var tree tlog.Tree
	vkey, err := os.ReadFile(filepath.Join(folder, "vkey"))
	if err != nil {
		return "", tree, err
	}
	signed, err := os.ReadFile(filepath.Join(folder, "checkpoint"))
	if err != nil {
		return "", tree, err
	}
	return openSigned(signed, vkey)
}

// openSigned verifies the signature under a head and takes its three lines apart.
func openSigned(signed, vkey []byte) (string, tlog.Tree, error) {
	var tree tlog.Tree
	verifier, err := note.NewVerifier(strings.TrimSuffix(string(vkey), "\n"))
	if err != nil {
		return "", tree, err
	}
	opened, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return "", tree, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		return "", tree, errors.New("the head is not origin, size and root")
	}
	if lines[0] != verifier.Name() {
		return "", tree, fmt.Errorf("the head is of %q, the key of %q", lines[0], verifier.Name())
	}
	tree.N, err = strconv.ParseInt(lines[1], 10, 64)
	if err != nil || tree.N < 0 || strconv.FormatInt(tree.N, 10) != lines[1] {
		return "", tree, fmt.Errorf("%q is no size", lines[1])
	}
	tree.Hash, err = tlog.ParseHash(lines[2])
	return lines[0], tree, err
}

// memory holds all hashes of a log in the order in which Go numbers them.
type memory []tlog.Hash

func (m memory) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if index < 0 || index >= int64(len(m)) {
			return nil, fmt.Errorf("hash %d is not known", index)
		}
		out[i] = m[index]
	}
	return out, nil
}

// hashEntries reads all bundles and computes every hash of the log from the entries alone.
func hashEntries(folder string, size int64) (memory, error) {
	var stored memory
	for first := int64(0); first < size; first += 1 << height {
		width := int(min(size-first, 1<<height))
		name := path(tlog.Tile{H: height, L: -1, N: first >> height, W: width})
		bundle, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			return nil, err
		}
		for i := 0; i < width; i++ {
			if len(bundle) < 2 || len(bundle)-2 < int(binary.BigEndian.Uint16(bundle)) {
				return nil, fmt.Errorf("%s: entry %d is cut off", name, i)
			}
			end := 2 + int(binary.BigEndian.Uint16(bundle))
			hashes, err := tlog.StoredHashes(first+int64(i), bundle[2:end], stored)
			if err != nil {
				return nil, err
			}
			stored = append(stored, hashes...)
			bundle = bundle[end:]
		}
		if len(bundle) > 0 {
			return nil, fmt.Errorf("%s: %d bytes behind the last entry", name, len(bundle))
		}
	}
	return stored, nil
}

// compareTiles compares every file of hashes, at every level, with what Go would have written.
func compareTiles(folder string, size int64, stored memory) error {
	for _, tile := range tlog.NewTiles(height, 0, size) {
		// Go lists the narrower ones too, which a log may have removed.
		if count := size >> (uint(tile.L) * height); tile.W < 1<<height && count != tile.N<<height+int64(tile.W) {
			continue
		}
		want, err := tlog.ReadTileData(tile, stored)
		if err != nil {
			return err
		}
		got, err := os.ReadFile(filepath.Join(folder, path(tile)))
		if err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("%s: has other hashes than the entries", path(tile))
		}
	}
	return nil
}

// checkProofs proves entries and earlier heads from the tiles on disk, as a client that trusts only the head would.
func checkProofs(folder string, tree tlog.Tree, stored memory) error {
	reader := tlog.TileHashReader(tree, tiles(folder))
	step := (tree.N + maxProofs - 1) / maxProofs
	for n := int64(0); n < tree.N; n = next(n, step, tree.N-1) {
		proof, err := tlog.ProveRecord(tree.N, n, reader)
		if err != nil {
			return fmt.Errorf("entry %d: %w", n, err)
		}
		leaf := stored[tlog.StoredHashIndex(0, n)]
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, n, leaf); err != nil {
			return fmt.Errorf("entry %d: %w", n, err)
		}
	}
	for n := int64(1); n <= tree.N; n = next(n, step, tree.N) {
		before, err := tlog.TreeHash(n, stored)
		if err != nil {
			return err
		}
		proof, err := tlog.ProveTree(tree.N, n, reader)
		if err != nil {
			return fmt.Errorf("head of size %d: %w", n, err)
		}
		if err := tlog.CheckTree(proof, tree.N, tree.Hash, n, before); err != nil {
			return fmt.Errorf("head of size %d: %w", n, err)
		}
	}
	return nil
}

// next goes on by step, but not past last without having been there.
func next(n, step, last int64) int64 {
	if n < last && n+step > last {
		return last
	}
	return n + step
}

// tiles reads files of hashes from a log's folder.
type tiles string

func (t tiles) Height() int { return height }

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	data := make([][]byte, len(wanted))
	for i, tile := range wanted {
		var err error
		if data[i], err = os.ReadFile(filepath.Join(string(t), path(tile))); err != nil {
			return nil, err
		}
		if len(data[i]) != tile.W*sha256.Size {
			return nil, fmt.Errorf("%s: %d bytes", path(tile), len(data[i]))
		}
	}
	return data, nil
}

func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

// path is Go's own path without the height, and with the C2SP name for data: tile/L/N, tile/entries/N.
func path(tile tlog.Tile) string {
	rest := strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/", height))
	if tile.L == -1 {
		rest = "entries" + strings.TrimPrefix(rest, "data")
	}
	return "tile/" + rest
}

// cutPrefix is strings.CutPrefix, which Go 1.19 does not have.
func cutPrefix(s, prefix string) (string, bool) {
	return strings.TrimPrefix(s, prefix), strings.HasPrefix(s, prefix)
}

func min(a, b int64) int64 {
	if a < b {
		return a
	}
	return b
}
