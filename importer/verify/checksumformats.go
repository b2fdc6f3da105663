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

// Algorithms of checksums.
const (
	gost = "gost"
	sha2 = "sha256"
)

// form describes a checksum file. It is derived from the file's name.
type form struct {
	algorithm string
	of        string // name of the file that the checksum is for; empty if there may be several
}

// formOf returns the form of a checksum file. For any other file, ok is false.
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

// named is a checksum, with the name of the file that it is for.
type named struct {
	of    string
	want  []byte
	fault string // why there is no valid checksum; empty if there is one
}

// parse parses a checksum file, which contains a checksum alone, or lines like those of sha256sum. Other
// lines, such as a signature, are ignored if at least one line has a checksum.
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

// Forms of lines: sumLine is that of `sha256sum` and of `gost12sum`, which writes only one space. The tag lines
// are those of `openssl dgst`, and tagLine also that of `sha256sum --tag`.
var (
	sumLine     = regexp.MustCompile(`^([0-9A-Fa-f]{64}) [ *]?(.+)$`)
	tagLine     = regexp.MustCompile(`^SHA(?:2-)?256 ?\((.+)\) ?= ?([0-9A-Fa-f]{64})$`)
	gostTagLine = regexp.MustCompile(`^md_gost12_256\((.+)\)= ([0-9A-Fa-f]{64})$`)
)

func (f form) parseLine(line string) (n named, ok bool) {
	tagged := tagLine
	if f.algorithm == gost {
		tagged = gostTagLine
	}
	text, name := "", ""
	line, isEscaped := strings.CutPrefix(line, `\`)
	if m := sumLine.FindStringSubmatch(line); m != nil {
		text, name = m[1], m[2]
	} else if m := tagged.FindStringSubmatch(line); m != nil {
		text, name = m[2], m[1]
	}
	if isEscaped { // sha256sum escapes backslashes; a newline stays escaped, because no archive has one in its name
		name = strings.ReplaceAll(name, `\\`, `\`)
	}
	want, ok := parseChecksum(text)
	return named{of: name, want: want}, ok
}

// parseChecksum parses a hexadecimal checksum. With both algorithms, it has 32 bytes.
func parseChecksum(text string) ([]byte, bool) {
	sum, err := hex.DecodeString(text)
	return sum, err == nil && len(sum) == sha256.Size
}
