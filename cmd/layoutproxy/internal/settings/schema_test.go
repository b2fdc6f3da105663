package settings

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// schema generates a JSON schema (draft 2020-12) of the configuration file from the flags. Editors
// use it.
func schema(f *pflag.FlagSet) ([]byte, error) {
	type object = map[string]any
	properties := object{"sources": object{
		"description": "list of directories, archives and chunk sets; each entry is a path, or a path with its own roots; if two sources have the same tag, the later source wins",
		"type":        "array",
		"items": object{"oneOf": []any{
			object{"type": "string"},
			object{"type": "object", "required": []string{"path"}, "additionalProperties": false,
				"properties": object{"path": object{"type": "string"}, "root-repository": oneOrMore()}},
		}},
	}}
	f.VisitAll(func(flag *pflag.Flag) {
		if !slices.Contains(notSettings, flag.Name) && !flag.Hidden {
			properties[flag.Name] = property(flag)
		}
	})
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(object{
		"$schema":              "https://json-schema.org/draft/2020-12/schema",
		"title":                "layoutproxy serve --config",
		"type":                 "object",
		"additionalProperties": false,
		"properties":           properties,
	})
	return b.Bytes(), err
}

func oneOrMore() map[string]any {
	text := map[string]any{"type": "string"}
	return map[string]any{"oneOf": []any{text, map[string]any{"type": "array", "items": text}}}
}

func property(flag *pflag.Flag) map[string]any {
	_, usage := pflag.UnquoteUsage(flag)
	if list, ok := flag.Value.(pflag.SliceValue); ok {
		p := oneOrMore()
		p["description"], p["default"] = usage, append([]string{}, list.GetSlice()...)
		return p
	}
	p := map[string]any{"description": usage, "type": "string"}
	switch flag.Value.Type() {
	case "bool":
		p["type"], p["default"] = "boolean", flag.DefValue == "true"
		return p
	case "int", "int64", "uint", "uint64", "float64":
		if p["type"] = "integer"; strings.HasPrefix(flag.Value.Type(), "float") {
			p["type"] = "number"
		}
		if n, err := strconv.ParseFloat(flag.DefValue, 64); err == nil {
			p["default"] = n
		}
		return p
	case "duration":
		p["pattern"] = `^(0|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+)$`
	}
	if flag.Name != "cache-dir" { // the default of cache-dir depends on the machine
		p["default"] = flag.DefValue
	}
	return p
}
