// SPDX-License-Identifier: BSD-3-Clause

// readdisk copies a VMDK to a raw image through VixDiskLib, by cgo. Several goroutines read from one open disk.
//
//	readdisk DISK.VMDK IMAGE                                         a local disk
//	readdisk '[datastore] dir/x.vmdk' IMAGE HOST USER VM THUMBPRINT  the password is read from standard input
package main

/*
#cgo pkg-config: vixDiskLib
#include <stdlib.h>
#include <vixDiskLib.h>
#include <vixDiskLibExt.h>

// cgo has no access to the members of a union.
static void set_user(VixDiskLibConnectParams *params, char *user, char *password)
{
	params->credType = VIXDISKLIB_CRED_UID;
	params->creds.uid.userName = user;
	params->creds.uid.password = password;
}
*/
import "C"

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"unsafe"
)

const (
	sectorBytes = C.VIXDISKLIB_SECTOR_SIZE
	stepSectors = 4096 // of one read, 2 MiB
	readers     = 4
)

// call runs a function of the library, and makes an error of its code. The detail of a failure belongs to the thread
// of the call, so the goroutine stays on it in between.
func call(what string, f func() C.VixError) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	code := f()
	if code == C.VIX_OK {
		return nil
	}
	detail := C.GoString(C.VixDiskLibExt_LastErrorDetail())
	text := C.VixDiskLib_GetErrorText(code, nil)
	defer C.VixDiskLib_FreeErrorText(text)
	return fmt.Errorf("%s: %d: %s: %s", what, uint64(code), C.GoString(text), detail)
}

type server struct {
	host, user, password, vm, thumbprint string
}

// connect makes a connection for reading to a server, or to the local machine if s is nil.
func connect(s *server) (conn C.VixDiskLibConnection, err error) {
	var params *C.VixDiskLibConnectParams
	if s != nil {
		params = C.VixDiskLib_AllocateConnectParams()
		if params == nil {
			return nil, errors.New("out of memory")
		}
		defer C.VixDiskLib_FreeConnectParams(params)
		host, port, _ := strings.Cut(s.host, ":")
		number := uint64(0) // the usual one
		if port != "" {
			if number, err = strconv.ParseUint(port, 10, 16); err != nil {
				return nil, err
			}
		}
		var texts []*C.char
		for _, value := range []string{host, s.vm, s.thumbprint, s.user, s.password} {
			text := C.CString(value)
			defer C.free(unsafe.Pointer(text)) // the connection has copies
			texts = append(texts, text)
		}
		params.serverName, params.vmxSpec, params.thumbPrint = texts[0], texts[1], texts[2]
		params.port = C.uint32(number)
		C.set_user(params, texts[3], texts[4])
	}
	err = call("connect", func() C.VixError { return C.VixDiskLib_ConnectEx(params, 1, nil, nil, &conn) })
	return conn, err
}

// copyPart reads every readers-th step of the disk, from the first on.
func copyPart(disk C.VixDiskLibHandle, out *os.File, first, capacity uint64) error {
	buffer := make([]byte, stepSectors*sectorBytes)
	for sector := first * stepSectors; sector < capacity; sector += readers * stepSectors {
		n := capacity - sector
		if n > stepSectors {
			n = stepSectors
		}
		err := call("read", func() C.VixError {
			return C.VixDiskLib_Read(disk, C.VixDiskLibSectorType(sector), C.VixDiskLibSectorType(n),
				(*C.uint8)(unsafe.Pointer(&buffer[0])))
		})
		if err == nil {
			_, err = out.WriteAt(buffer[:n*sectorBytes], int64(sector*sectorBytes))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func copyDisk(path, image string, s *server) error {
	err := call("start", func() C.VixError { return C.VixDiskLib_InitEx(8, 0, nil, nil, nil, nil, nil) })
	if err != nil {
		return err
	}
	defer C.VixDiskLib_Exit()
	conn, err := connect(s)
	if err != nil {
		return err
	}
	defer C.VixDiskLib_Disconnect(conn)
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	var disk C.VixDiskLibHandle
	err = call(path, func() C.VixError {
		return C.VixDiskLib_Open(conn, name, C.VIXDISKLIB_FLAG_OPEN_READ_ONLY, &disk)
	})
	if err != nil {
		return err
	}
	defer C.VixDiskLib_Close(disk)
	var info *C.VixDiskLibInfo
	if err = call(path, func() C.VixError { return C.VixDiskLib_GetInfo(disk, &info) }); err != nil {
		return err
	}
	capacity := uint64(info.capacity)
	C.VixDiskLib_FreeInfo(info)
	out, err := os.Create(image)
	if err != nil {
		return err
	}
	defer out.Close()
	if err = out.Truncate(int64(capacity * sectorBytes)); err != nil {
		return err
	}
	var wait sync.WaitGroup
	failures := make([]error, readers)
	for i := range failures {
		wait.Add(1)
		go func(i int) {
			defer wait.Done()
			failures[i] = copyPart(disk, out, uint64(i), capacity)
		}(i)
	}
	wait.Wait()
	for _, err = range failures {
		if err != nil {
			return err
		}
	}
	return out.Close()
}

func main() {
	var s *server
	switch len(os.Args) {
	case 3:
	case 7:
		password, _ := bufio.NewReader(os.Stdin).ReadString('\n')
		s = &server{os.Args[3], os.Args[4], strings.TrimRight(password, "\n"), os.Args[5], os.Args[6]}
	default:
		fmt.Fprintln(os.Stderr, "readdisk DISK IMAGE [HOST USER VM THUMBPRINT]")
		os.Exit(2)
	}
	if err := copyDisk(os.Args[1], os.Args[2], s); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
