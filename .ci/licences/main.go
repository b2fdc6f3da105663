// Licences prints the licence of each module that is linked into a program, and writes the modules
// with their licences to an SBOM in the CycloneDX 1.6 format. It fails if a module has no licence
// file, or an unknown licence. All known licences allow a binary to be released under Apache 2.0.
//
//	licences ./cmd/layoutproxy SBOM.json
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// known returns the accepted licences, each with phrases that identify its text. If a file matches
// several licences, find uses the first one.
func known() []licence {
	return []licence{
		{"Apache-2.0", []string{"Apache License", "Version 2.0, January 2004"}},
		{"MPL-2.0", []string{"Mozilla Public License Version 2.0"}},
		{"BSD-3-Clause", []string{"Redistributions in binary form must reproduce", "Neither the name"}},
		{"BSD-2-Clause", []string{"Redistributions in binary form must reproduce"}},
		{"MIT", []string{"Permission is hereby granted, free of charge", "The above copyright notice and this permission notice"}},
		{"Unlicense", []string{"This is free and unencumbered software released into the public domain."}},
		{"ISC", []string{"Permission to use, copy, modify, and/or distribute this software"}},
	}
}

type licence struct {
	name  string
	words []string
}

type module struct {
	Path, Version, Dir string
	Main               bool
	licence            string // the licence as an SPDX expression, such as MIT
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: licences PACKAGE SBOM")
		os.Exit(2)
	}
	if err := check(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "licences:", err)
		os.Exit(1)
	}
}

// check prints the licence of each module in a program, and writes the program's SBOM.
func check(program, sbom string) error {
	modules, err := linked(program)
	if err != nil {
		return err
	}
	if len(modules) == 0 {
		return errors.New("no modules are linked: PACKAGE must be the main package of the program")
	}
	var failed error
	for i, m := range modules {
		name, err := find(m.Dir)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s %s: %w", m.Path, m.Version, err))
			continue
		}
		modules[i].licence = name
		fmt.Printf("%-14s %s %s\n", name, m.Path, m.Version)
	}
	return errors.Join(failed, write(sbom, program, modules))
}

func write(file, program string, modules []module) error {
	type object = map[string]any
	components := []object{}
	for _, m := range modules {
		components = append(components, object{
			"type": "library", "name": m.Path, "version": m.Version, "purl": "pkg:golang/" + m.Path + "@" + m.Version,
			"licenses": []object{{"expression": m.licence}},
		})
	}
	components = append(components, object{
		"type": "library", "name": "std", "version": runtime.Version(), "purl": "pkg:golang/std@" + strings.TrimPrefix(runtime.Version(), "go"),
		"licenses": []object{{"expression": "BSD-3-Clause"}},
	})
	data, err := json.MarshalIndent(object{
		"$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json", "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
		"metadata":   object{"component": object{"type": "application", "name": path.Base(program), "licenses": []object{{"expression": "Apache-2.0"}}}},
		"components": components,
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(data, '\n'), 0o644)
}

// linked returns the modules that are linked into the program on at least one of the operating
// systems that it is released for. No module is listed twice.
func linked(program string) ([]module, error) {
	var modules []module
	for _, system := range []string{"linux", "darwin", "windows"} {
		cmd := exec.Command("go", "list", "-deps", "-json=Module", program)
		cmd.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return nil, err
		}
		for d := json.NewDecoder(strings.NewReader(string(out))); ; {
			var p struct{ Module *module }
			if err := d.Decode(&p); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return nil, err
			}
			if p.Module != nil && !p.Module.Main && !slices.Contains(modules, *p.Module) {
				modules = append(modules, *p.Module)
			}
		}
	}
	slices.SortFunc(modules, func(a, b module) int { return strings.Compare(a.Path, b.Path) })
	return modules, nil
}

// find returns the licences of the module in dir as an SPDX expression. It fails if the top directory
// of the module has no licence file, or has one with an unknown licence.
func find(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	isLicence := regexp.MustCompile(`(?i)^((un)?licen[cs]e|copying)(\.(md|txt))?$`)
	var names []string
	for _, e := range entries {
		if !isLicence.MatchString(e.Name()) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return "", err
		}
		text := strings.Join(strings.Fields(string(data)), " ")
		i := slices.IndexFunc(known(), func(l licence) bool {
			return !slices.ContainsFunc(l.words, func(w string) bool { return !strings.Contains(text, w) })
		})
		if i < 0 {
			return "", fmt.Errorf("unknown licence in %s", e.Name())
		}
		names = append(names, known()[i].name)
	}
	if len(names) == 0 {
		return "", errors.New("the module has no licence file")
	}
	return strings.Join(names, " AND "), nil
}
