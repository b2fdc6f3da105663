package verify

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// The algorithms of checksums.
const (
	gost = "gost"
	sha2 = "sha256"
)

// form is the format of a checksum file, which follows from its name.
type form struct {
	algorithm string
	of        string // the file after which it is named; empty if it lists several files
}

// formOf returns the format of a checksum file; ok is false for any other file.
func formOf(name string) (f form, ok bool) {
	if strings.HasPrefix(name, ".") {
		return form{}, false
	}
	if of, ok := strings.CutSuffix(name, ".gostsum"); ok && of != "" {
		return form{gost, of}, true
	}
	for _, suffix := range []string{".sha256", ".sha256sum"} {
		if of, ok := strings.CutSuffix(name, suffix); ok && of != "" {
			return form{sha2, of}, true
		}
	}
	several := []string{"sha256sums", "sha256sums.txt", "sha256sum", "sha256sum.txt"}
	return form{algorithm: sha2}, slices.Contains(several, strings.ToLower(name))
}

// named is a checksum and the name of its file.
type named struct {
	of    string
	want  []byte
	fault string // why the checksum is invalid
}

// parse reads a checksum file: one checksum alone, or lines as sha256sum writes them. It ignores other
// lines, such as those of a signature, if at least one line has a checksum.
func (f form) parse(data []byte) (all []named) {
	if want, ok := parseChecksum(strings.TrimSpace(string(data))); ok && f.of != "" {
		return []named{{of: f.of, want: want}}
	}
	for line := range bytes.Lines(data) {
		if n, ok := f.parseLine(strings.TrimRight(string(line), "\r\n")); ok {
			all = append(all, n)
		}
	}
	if all == nil {
		return []named{{of: f.of, fault: fmt.Sprintf("contains no %s checksum", f.algorithm)}}
	}
	return all
}

// Lines as `sha256sum` writes them: in text or binary mode, and with --tag.
var (
	sumLine = regexp.MustCompile(`^([0-9A-Fa-f]{64}) [ *](.+)$`)
	tagLine = regexp.MustCompile(`^SHA256 \((.+)\) ?= ?([0-9A-Fa-f]{64})$`)
)

func (f form) parseLine(line string) (n named, ok bool) {
	text, name := "", ""
	if m := sumLine.FindStringSubmatch(line); m != nil {
		text, name = m[1], m[2]
	} else if m := tagLine.FindStringSubmatch(line); m != nil && f.algorithm == sha2 {
		text, name = m[2], m[1]
	}
	want, ok := parseChecksum(text)
	return named{of: name, want: want}, ok
}

// parseChecksum reads a hexadecimal checksum. Both algorithms have 32 bytes.
func parseChecksum(text string) ([]byte, bool) {
	sum, err := hex.DecodeString(text)
	return sum, err == nil && len(sum) == sha256.Size
}
