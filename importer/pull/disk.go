package pull

import (
	"errors"
	"io"
	"os"
	"runtime"
)

// writeFile writes a file to disk (fsync). It may be there in part after a crash: who
// needs it whole or not at all renames it.
func writeFile(name string, data []byte) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return joinClose(err, f)
	}
	if err := f.Sync(); err != nil {
		return joinClose(err, f)
	}
	return f.Close()
}

// joinClose closes c after err, which is the one that matters.
func joinClose(err error, c io.Closer) error { return errors.Join(err, c.Close()) }

// syncDir makes renames in a directory last, where a directory can be synced.
func syncDir(name string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		return joinClose(err, d)
	}
	return d.Close()
}
