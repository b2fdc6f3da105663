package containerd

import (
	"bytes"
	"path/filepath"
	"strings"
)

// The lines that our part of a hosts.toml stands between, and those behind the first
// that say what goes with it.
const (
	beginLine = "# BEGIN layoutproxy mirror-config: what follows is its own, down to END, and --remove takes it out."
	endLine   = "# END layoutproxy mirror-config"
	madeFile  = "# The file was made for it."
	madeDir   = "# The file and its directory were made for it."
	madeDirs  = "# The file, its directory and the one above were made for it."
)

// By their beginnings the marks are known again.
const (
	beginMark = "# BEGIN layoutproxy mirror-config"
	endMark   = "# END layoutproxy mirror-config"
)

// made says what did not exist before our part.
type made int

const (
	madeNothing made = iota
	madeTheFile
	madeTheDir  // and the file in it
	madeTheDirs // and certs.d above it
)

// part is where our part lies in a text.
type part struct {
	begin, end int // offsets; the end is behind the last line's newline
	made       made
}

// findPart finds our part. It returns nil if there is none, and an [*AdviceError] if
// the marks make no sense.
func findPart(text []byte) (*part, error) {
	var found *part
	inside := false
	offset, number := 0, 0
	for line := range bytes.Lines(text) {
		number++
		trimmed := strings.TrimSpace(string(line))
		switch {
		case strings.HasPrefix(trimmed, beginMark):
			if found != nil {
				return nil, badMarks(number, "a second BEGIN of layoutproxy's part")
			}
			found, inside = &part{begin: offset}, true
		case strings.HasPrefix(trimmed, endMark):
			if !inside {
				return nil, badMarks(number, "an END of layoutproxy's part without its BEGIN")
			}
			found.end, inside = offset+len(line), false
		case inside && trimmed == madeFile:
			found.made = madeTheFile
		case inside && trimmed == madeDir:
			found.made = madeTheDir
		case inside && trimmed == madeDirs:
			found.made = madeTheDirs
		}
		offset += len(line)
	}
	if inside {
		return nil, badMarks(number, "layoutproxy's part has a BEGIN and no END")
	}
	return found, nil
}

func badMarks(line int, what string) error {
	return advise("take the lines of that part out by hand, with both marks, and try again", "line %d: %s", line, what)
}

// without is the text as it was before our part.
func (p *part) without(text []byte) (rest []byte, at int) {
	begin, end := p.begin, p.end
	if end == len(text) && !bytes.HasSuffix(text, []byte("\n")) {
		// A file whose last line has no newline: it was put there before our part, and
		// our last line has none either.
		before := bytes.TrimSuffix(text[:begin], []byte("\n"))
		begin = len(bytes.TrimSuffix(before, []byte("\r")))
	}
	return append(append([]byte{}, text[:begin]...), text[end:]...), begin
}

// render is our part's lines, with the marks and with the ends of lines of the file
// that it is for.
func (m *Mirror) render(file string, alone bool, what made, eol string) []byte {
	lines := beginLine + "\n"
	switch what {
	case madeTheFile:
		lines += madeFile + "\n"
	case madeTheDir:
		lines += madeDir + "\n"
	case madeTheDirs:
		lines += madeDirs + "\n"
	}
	lines += m.comment(filepath.Dir(filepath.Dir(file)), file) + m.top(alone) + m.table() + endLine + "\n"
	return []byte(strings.ReplaceAll(lines, "\n", eol))
}

// put puts lines into a text at an offset that begins a line or ends the text.
func put(text []byte, at int, lines []byte, eol string) []byte {
	if at == len(text) && at > 0 && text[at-1] != '\n' {
		lines = append([]byte(eol), bytes.TrimSuffix(lines, []byte(eol))...)
	}
	return append(append(append([]byte{}, text[:at]...), lines...), text[at:]...)
}

// endOfLine is how the lines of a text end.
func endOfLine(text []byte) string {
	if i := bytes.IndexByte(text, '\n'); i > 0 && text[i-1] == '\r' {
		return "\r\n"
	}
	return "\n"
}
