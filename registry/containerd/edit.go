package containerd

import (
	"bytes"
	"maps"
	"reflect"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// edit returns the text of file with the section of this mirror. It replaces an existing section.
// Without one, the section is added before the first table, so that containerd asks the mirror before
// other hosts. created says what has to be created for the section.
func (m *Mirror) edit(text []byte, file string, created made) ([]byte, error) {
	if _, err := parse(text); err != nil {
		return nil, err
	}
	old, err := findSection(text)
	if err != nil {
		return nil, err
	}
	rest := text
	var at int
	if old != nil {
		rest, at = old.removeFrom(text)
		created = old.made
	} else {
		at = findPlace(text)
	}
	keys, err := parse(rest)
	if err != nil {
		return nil, err
	}
	if err := m.conflict(keys); err != nil {
		return nil, err
	}
	eol := endOfLine(rest)
	lines := m.render(file, len(keys) == 0, created, eol)
	if len(keys) > 0 && m.options.NoFallback && keys["server"] != nil {
		// The file's own server already is this mirror, so drop the top-level keys of the section.
		lines = bytes.Replace(lines, []byte(strings.ReplaceAll(m.top(false), "\n", eol)), nil, 1)
	}
	edited := insertLines(rest, at, lines, eol)
	return edited, sameButFor(edited, rest, lines)
}

// cutSection returns text without layoutproxy's section. created says what was created for the
// section, and found whether there was a section.
func cutSection(text []byte) (rest []byte, created made, found bool, err error) {
	if _, err := parse(text); err != nil {
		return nil, madeNothing, false, err
	}
	p, err := findSection(text)
	if p == nil || err != nil {
		return text, madeNothing, false, err
	}
	rest, _ = p.removeFrom(text)
	return rest, p.made, true, sameButFor(text, rest, text[p.begin:p.end])
}

// conflict returns an error if the other settings of a file contradict this mirror.
func (m *Mirror) conflict(keys map[string]any) error {
	own, err := Endpoint(m.Endpoint(), m.options.OverridePath)
	if err != nil {
		return err
	}
	hosts, _ := keys["host"].(map[string]any)
	for name, settings := range hosts {
		if same, err := Endpoint(name, overrides(settings)); err == nil && same == own {
			return advise("remove that table if layoutproxy should manage the entry, or keep the file: this table already points to the mirror",
				"the file has a hand-written table for the same endpoint: [host.%s]", quote(name))
		}
	}
	if !m.options.NoFallback {
		return nil
	}
	if server, ok := keys["server"].(string); ok {
		if same, err := Endpoint(server, overrides(keys)); err == nil && same == own {
			return nil
		}
		return advise("remove that line, or omit --no-fallback",
			"the line server = %s sets a fallback, which --no-fallback would have to replace", quote(server))
	}
	for _, key := range serverKeys {
		if keys[key] != nil {
			return advise("remove that key, or omit --no-fallback",
				"the key %q applies to the registry itself, which --no-fallback replaces with the mirror", key)
		}
	}
	return nil
}

// serverKeys are the top-level keys that concern the server.
var serverKeys = []string{"server", "capabilities", "ca", "client", "skip_verify", "header", "override_path", "dial_timeout"}

func overrides(settings any) bool {
	table, _ := settings.(map[string]any)
	override, _ := table["override_path"].(bool)
	return override
}

// findPlace returns the offset at which to insert a new section: before the first table and its
// comment, or else at the end. The text must be valid TOML.
func findPlace(text []byte) int {
	var p unstable.Parser
	p.Reset(text)
	behind := 0 // end of the last top-level key so far
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.KeyValue:
			behind = int(e.Raw.Offset + e.Raw.Length)
		case unstable.Table, unstable.ArrayTable:
			keys := e.Key()
			keys.Next()
			return aboveComment(text, behind, lineStart(text, int(keys.Node().Raw.Offset)))
		}
	}
	return len(text)
}

// aboveComment returns the start of the comment lines directly above the line that starts at offset
// at. The result is never less than least.
func aboveComment(text []byte, least, at int) int {
	for at > least {
		above := lineStart(text, at-1)
		if above < least || !bytes.HasPrefix(bytes.TrimSpace(text[above:at]), []byte("#")) {
			break
		}
		at = above
	}
	return at
}

func lineStart(text []byte, at int) int { return bytes.LastIndexByte(text[:at], '\n') + 1 }

// sameButFor returns an error unless all contains exactly the settings of rest and of lines. So no
// key of one of these texts can move into a table of the other.
func sameButFor(all, rest, lines []byte) error {
	var settings [3]map[string]any
	for i, text := range [][]byte{all, rest, lines} {
		var err error
		if settings[i], err = parse(text); err != nil {
			return advise("write the file's hosts as [host.\"…\"] tables, one per host, and try again",
				"layoutproxy's section cannot be added to the file: %w", err)
		}
	}
	if !reflect.DeepEqual(settings[0], union(settings[1], settings[2])) {
		return advise("move your lines between layoutproxy's END and the next [table] to the top of the file",
			"a key of the file would move into or out of layoutproxy's section")
	}
	return nil
}

// union merges the settings of two texts, including their tables of hosts.
func union(a, b map[string]any) map[string]any {
	all := maps.Clone(a)
	maps.Copy(all, b)
	ours, _ := a["host"].(map[string]any)
	theirs, _ := b["host"].(map[string]any)
	if ours != nil && theirs != nil {
		hosts := maps.Clone(ours)
		maps.Copy(hosts, theirs)
		all["host"] = hosts
	}
	return all
}
