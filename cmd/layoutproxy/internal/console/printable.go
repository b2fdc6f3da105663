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

// ClearScreen is the escape sequence that clears a terminal.
const ClearScreen = "\x1b[H\x1b[2J"

// sequences returns layoutproxy's own escape sequences. Printable lets them through.
func sequences() []string {
	return []string{string(Green), string(Yellow), string(Red), endOfColor, ClearScreen}
}

// Printable writes text to w, but replaces hidden characters by escapes such as \u001b. Text from
// bundles and servers must not control an operator's terminal: move the cursor, set the title or
// make it send input. Line ends, tabs and the program's own colors stay. In JSON, such an escape
// stands for the character that it replaces.
type Printable struct {
	w    io.Writer
	held []byte // an incomplete sequence or character, kept until the rest is written
}

// NewPrintable returns a [Printable] that writes to w.
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

// writeFirst writes the first character or sequence of b, and returns its length in bytes. If b
// does not contain all of it, writeFirst writes nothing and returns 0.
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
	for _, unit := range utf16.AppendRune(nil, r) { // UTF-16, as in JSON
		fmt.Fprintf(out, `\u%04x`, unit)
	}
	return n
}

// isPrintable reports whether b consists of printable ASCII, line ends and tabs, and so needs no escapes.
func isPrintable(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\n' && c != '\t' || c >= 0x7f {
			return false
		}
	}
	return true
}

// unwrap removes the [Printable] and painter writers that wrap w, and returns the writer inside.
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
