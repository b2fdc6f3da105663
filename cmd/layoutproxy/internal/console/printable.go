package console

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// ClearScreen clears a terminal.
const ClearScreen = "\x1b[H\x1b[2J"

// sequences are the escape sequences that the program writes itself.
func sequences() []string {
	return []string{string(Green), string(Yellow), string(Red), endOfColor, ClearScreen}
}

// Printable writes text to w, with hidden characters as escapes such as \u001b: names in a bundle and
// answers of a server must not move the cursor of an operator's terminal, set its title or make it
// send input. Line ends, tabs and the program's own colors stay. In JSON, the escape means the same
// character.
type Printable struct {
	w    io.Writer
	held []byte // the beginning of a sequence or a character, until the rest is written
}

// NewPrintable returns a writer of printable text to w.
func NewPrintable(w io.Writer) *Printable { return &Printable{w: w} }

// Write implements io.Writer.
func (p *Printable) Write(b []byte) (int, error) {
	if len(p.held) == 0 && isPrintable(b) {
		return p.w.Write(b)
	}
	rest := append(p.held, b...)
	p.held = nil
	var out bytes.Buffer
	for len(rest) > 0 {
		n := writeFirst(&out, rest)
		if n == 0 {
			p.held = bytes.Clone(rest)
			break
		}
		rest = rest[n:]
	}
	if _, err := p.w.Write(out.Bytes()); err != nil {
		return 0, err
	}
	return len(b), nil
}

// writeFirst writes the first character or sequence of b, and returns its length, or 0 if it is
// incomplete.
func writeFirst(out *bytes.Buffer, b []byte) int {
	for _, s := range sequences() {
		if bytes.HasPrefix(b, []byte(s)) {
			out.WriteString(s)
			return len(s)
		}
		if strings.HasPrefix(s, string(b)) {
			return 0
		}
	}
	if !utf8.FullRune(b) {
		return 0
	}
	r, n := utf8.DecodeRune(b)
	if r == '\n' || r == '\t' || !problem.IsHidden(r) {
		out.Write(b[:n])
		return n
	}
	for _, unit := range utf16.AppendRune(nil, r) { // as JSON writes it
		fmt.Fprintf(out, `\u%04x`, unit)
	}
	return n
}

// isPrintable reports whether a text certainly needs no escapes.
func isPrintable(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\n' && c != '\t' || c >= 0x7f {
			return false
		}
	}
	return true
}

// unwrap returns the writer below all [Printable] and painter writers.
func unwrap(w io.Writer) io.Writer {
	for {
		switch x := w.(type) {
		case *Printable:
			w = x.w
		case *painter:
			w = x.w
		default:
			return w
		}
	}
}
